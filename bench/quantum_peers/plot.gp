# CPU time over qubits, a panel each for the gradient, the state and the noisy density matrix; data/ is written by run.py.
set terminal svg size 1080,460 font "Helvetica,13" background "white"
set output "../../docs/figures/quantum_peers.svg"
peers = "quanta qsim lightning mindquantum qulacs aer quest torchquantum"
names = "Quanta qsim Lightning MindQuantum qulacs Aer QuEST TorchQuantum"
array color[8] = ["#c1121f", "#1f6fb4", "#2a9d8f", "#e08e0b", "#7b4fa3", "#6b7280", "#8c564b", "#d16ba5"]
array shape[8] = [7, 5, 9, 11, 13, 4, 6, 8]
file(panel, k) = "data/" . panel . "_" . word(peers, k) . ".dat"
set logscale y
set encoding utf8
set ytics ("100 ns" 1e-7, "1 µs" 1e-6, "10 µs" 1e-5, "100 µs" 1e-4, "1 ms" 1e-3, "10 ms" 1e-2, "100 ms" 0.1, "1 s" 1, "10 s" 10)
set border 3 lc rgb "#555555"
set tics nomirror textcolor rgb "#222222"
set grid ytics lc rgb "#e2e2e2"
set xlabel "qubits"
set multiplot
set key off
set tmargin at screen 0.90
set bmargin at screen 0.24
do for [p = 1:3] {
  panel = word("gradient state noise", p)
  set lmargin at screen (p - 1) * 0.33 + 0.075
  set rmargin at screen p * 0.33 - 0.005
  set title (p == 1 ? "One gradient of all angles" : p == 2 ? "State vector" : "Noisy density matrix, double") font ",15"
  set xrange [(p == 1 ? 3 : p == 2 ? 19.6 : 5.7):(p == 1 ? 21 : p == 2 ? 26.4 : 10.3)]
  if (p == 1) { set xtics 4, 4, 20 }
  if (p == 2) { set xtics 20, 2, 26 }
  if (p == 3) { set xtics 6, 2, 10 }
  set ylabel (p == 1 ? "CPU time, one thread" : "") offset 1,0
  set yrange [*:*]
  set autoscale y
  plot for [k = 8:1:-1] file(panel, k) using 1:2 with linespoints lc rgb color[k] pt shape[k] ps (k == 1 ? 0.9 : 0.6) lw (k == 1 ? 3.5 : 1.5)
}
# The legend, under all panels.
unset title; unset xlabel; unset ylabel; unset tics; unset border; unset grid; unset logscale
set lmargin at screen 0.02; set rmargin at screen 0.98; set tmargin at screen 0.11; set bmargin at screen 0.01
set xrange [0:1]; set yrange [0:1]
set key center center horizontal maxrows 1 samplen 2.5 width 1 reverse Left
plot for [k = 1:8] 1 / 0 with linespoints lc rgb color[k] pt shape[k] ps (k == 1 ? 0.9 : 0.6) lw (k == 1 ? 3.5 : 1.5) title word(names, k)
unset multiplot
