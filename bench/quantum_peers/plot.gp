# How many times the fastest peer's CPU time is Quanta's; ahead.dat is written by run.py.
set terminal svg size 900,620 font "Helvetica,13" background "white"
set output "../../docs/figures/quantum_peers.svg"
set title "CPU time of the fastest other simulator over Quanta's, one thread" font ",15"
set logscale x 2
stats "ahead.dat" using 2 nooutput
set xrange [0.5:STATS_max * 6]
set yrange [-0.7:STATS_records - 0.3]
set xtics ("1/2" 0.5, "as fast" 1, "2x" 2, "4x" 4, "8x" 8, "16x" 16, "32x" 32, "64x" 64, "128x" 128, "256x" 256, "512x" 512)
set grid xtics lc rgb "#dddddd"
set border 3
set tics nomirror
set lmargin 36
set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb "#888888"
unset key
set style fill solid
plot "ahead.dat" using ($2 > 1 ? 1 : $2):0:($2 > 1 ? 1 : $2):($2 > 1 ? $2 : 1):($0 - 0.32):($0 + 0.32):ytic(1) with boxxyerror lc rgb "#5b7db1", \
     "" using ($2 > 1 ? $2 : 1):0:3 with labels left offset 0.6,0 font ",11"
