#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "quanta/report/report.h"

namespace quanta {
namespace {

constexpr std::string_view kStyle = R"css(
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --text: #1b1f24; --faint: #59636e; --line: #d9dee4;
  --good: #0b6e4f; --good-soft: #dff3ea; --bad: #a63a00; --bad-soft: #fdeadf; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1216; --card: #171b21; --text: #e4e8ee; --faint: #9aa5b1;
  --line: #2d343d; --good: #5fd3a5; --good-soft: #12352a; --bad: #ffa26b; --bad-soft: #40220f; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: .2rem 0 .8rem; }
h2 { font-size: 1.2rem; margin: 0 0 .8rem; }
p { margin: 0 0 .8rem; max-width: 75ch; }
p:last-child { margin-bottom: 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.2rem; margin: 0 0 1.2rem; }
.kicker { color: var(--faint); font-size: .9rem; }
.verdict { display: inline-block; border-radius: 999px; padding: .25rem .9rem; font-weight: 600; margin-bottom: 1rem; }
.pass { color: var(--good); background: var(--good-soft); }
.fail { color: var(--bad); background: var(--bad-soft); }
dl.facts { display: flex; flex-wrap: wrap; gap: .4rem 2rem; margin: 1rem 0 1.4rem; }
dl.facts dt { color: var(--faint); font-size: .8rem; }
dl.facts dd { margin: 0; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding-bottom: .4rem; }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--faint); font-weight: 500; font-size: .85rem; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; }
.number + :not(.number) { padding-left: .8rem; }
.unit, .absent { color: var(--faint); }
.scroll + .scroll, .figures { margin-top: 1.2rem; }
h2 + .figures { margin-top: 0; }
ul.checks { list-style: none; margin: 0; padding: 0; }
ul.checks li { display: flex; gap: .8rem; padding: .45rem 0; border-bottom: 1px solid var(--line); }
ul.checks li:last-child { border-bottom: 0; }
.mark { flex: none; align-self: flex-start; width: 3.4rem; text-align: center; border-radius: 6px; font-size: .8rem;
  font-weight: 700; line-height: 1.6rem; }
.detail { color: var(--faint); font-size: .92rem; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 1.4rem; align-items: start; }
figure { margin: 0; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
figure svg { display: block; width: 100%; height: auto; border-radius: 6px; }
figcaption { color: var(--faint); font-size: .92rem; margin-top: .5rem; }
.note { border: 1px dashed var(--line); border-radius: 8px; padding: 1.2rem; color: var(--faint); }
pre { margin: 0; overflow-x: auto; font: .85rem/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre.command { border-left: 3px solid var(--accent); padding-left: .8rem; }
ul.files { margin: 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
@media print { body { background: none; } section { break-inside: avoid; } }
)css";

std::string group_digits(std::string digits) {
  const int start = digits.starts_with('-');
  for (int i = int(digits.size()) - 3; i > start; i -= 3) digits.insert(i, "\u202f");  // narrow no-break space
  return digits;
}

std::string format_number(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "not a number" : value > 0 ? "infinite" : "-infinite";
  if (value == std::round(value) && std::abs(value) < 1e15) {
    const std::string digits = fmt::format("{:.0f}", value + 0.0);  // + 0.0: no "-0"
    return digits.size() < 5 ? digits : group_digits(digits);
  }
  return fmt::format("{:.5g}", value);
}

std::string format_seconds(double seconds) {
  if (!(seconds >= 0) || std::isinf(seconds)) return "unknown";
  if (seconds < 10) return fmt::format("{:.2g} s", seconds);
  const auto whole = int64_t(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

bool looks_numeric(const std::string& cell) {
  if (cell.empty()) return false;
  char* end = nullptr;
  std::strtod(cell.c_str(), &end);
  // A number, or one with a unit or an uncertainty behind it; not a word like "nan" or "infinity".
  return end != cell.c_str() &&
         (std::isdigit(static_cast<unsigned char>(cell[0])) || std::ispunct(static_cast<unsigned char>(cell[0])));
}

std::string paragraphs(const std::string& text) {
  std::string html;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find("\n\n", begin), text.size());
    if (const std::string part = text.substr(begin, end - begin);
        part.find_first_not_of(" \n\t\r") != std::string::npos)
      html += "<p>" + escape_xml(part) + "</p>\n";
    begin = end + 2;
  }
  return html;
}

std::string table_html(const Table& table) {
  std::string html = "<div class=\"scroll\"><table>\n";
  if (!table.caption.empty()) html += "<caption>" + escape_xml(table.caption) + "</caption>\n";
  // A column is set to the right if all its cells are numbers.
  std::vector<bool> numeric(table.columns.size(), !table.rows.empty());
  for (const auto& row : table.rows)
    for (size_t i = 0; i < numeric.size(); ++i)
      numeric[i] = numeric[i] && (i >= row.size() || row[i].empty() || looks_numeric(row[i]));
  const auto cell = [&](const char* tag, size_t i, const std::string& text) {
    html += fmt::format("<{}{}>{}</{}>", tag, i < numeric.size() && numeric[i] ? " class=\"number\"" : "",
                        escape_xml(text), tag);
  };
  html += "<thead><tr>";
  for (size_t i = 0; i < table.columns.size(); ++i) cell("th", i, table.columns[i]);
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) cell("td", i, row[i]);
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// A picture as part of a page: no prolog, no scripts, and names that do not clash with another picture's.
std::string inline_svg(std::string svg, const std::string& prefix) {
  svg.erase(0, std::min(svg.find("<svg"), svg.size()));
  for (size_t begin; (begin = svg.find("<script")) != std::string::npos;) {
    const size_t end = svg.find("</script>", begin);
    svg.erase(begin, end == std::string::npos ? end : end + 9 - begin);
  }
  for (const char* reference : {" id=\"", " id='", "href=\"#", "href='#", "url(#"})
    replace_all(svg, reference, reference + prefix);
  return svg;
}

struct Size {
  double width = 0, height = 0;
};

Size svg_size(const std::string& svg) {
  Size size;
  double x, y;
  if (const size_t at = svg.find("viewBox="); at != std::string::npos)
    std::sscanf(svg.c_str() + at + 9, "%lf %lf %lf %lf", &x, &y, &size.width, &size.height);
  return size;
}

std::string figure_html(const Figure& figure, int index) {
  const auto [width, height] = svg_size(figure.svg);
  const bool wide = width > 700 || width > 2.2 * height;
  std::string html = wide ? "<figure class=\"wide\">" : "<figure>";
  if (figure.svg.empty()) {
    html += "<div class=\"note\">" + escape_xml(figure.note.empty() ? "No picture." : figure.note) + "</div>";
  } else {
    // Shrinks with the screen to a size that can still be read, then scrolls; never grows beyond its own size by much.
    const double least = wide ? 0.6 * width : 0;
    html += fmt::format("<div class=\"scroll\"><div style=\"max-width:{:.0f}px;min-width:{:.0f}px;margin:0 auto\">",
                        1.15 * width, least);
    html += inline_svg(figure.svg, fmt::format("figure{}-", index)) + "</div></div>";
  }
  if (!figure.caption.empty()) html += "<figcaption>" + escape_xml(figure.caption) + "</figcaption>";
  return html + "</figure>\n";
}

std::string with_unit(double value, const std::string& unit) {
  std::string html = format_number(value);
  if (!unit.empty()) html += " <span class=\"unit\">" + escape_xml(unit) + "</span>";
  return html;
}

std::string results_html(const Report& report) {
  std::string html =
      "<section><h2>Measured beside published</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>Quantity</th>"
      "<th class=\"number\">Measured here</th><th "
      "class=\"number\">Published</th><th>Source</th></tr></thead>\n<tbody>\n";
  for (const Result& result : report.results) {
    html +=
        fmt::format("<tr><td>{}</td><td class=\"number\"><b>{}</b></td><td class=\"number\">{}</td><td>{}</td></tr>\n",
                    escape_xml(result.name), with_unit(result.value, result.unit),
                    result.paper ? with_unit(*result.paper, result.unit) : "<span class=\"absent\">–</span>",
                    escape_xml(result.paper_source));
  }
  return html + "</tbody></table></div></section>\n";
}

std::string checks_html(const Report& report) {
  std::string html = "<section><h2>Checks</h2>\n<ul class=\"checks\">\n";
  for (const Check& check : report.checks) {
    html += fmt::format("<li><span class=\"mark {}\">{}</span><div>{}<div class=\"detail\">{}</div></div></li>\n",
                        check.holds ? "pass" : "fail", check.holds ? "PASS" : "FAIL", escape_xml(check.name),
                        escape_xml(check.detail));
  }
  return html + "</ul></section>\n";
}

std::string verdict_html(const Report& report) {
  const auto total = report.checks.size();
  if (!total) return "<div class=\"verdict\">No checks</div>\n";
  const auto held = std::ranges::count_if(report.checks, &Check::holds);
  return fmt::format("<div class=\"verdict {}\">{}: {} of {} checks hold</div>\n", report.passed() ? "pass" : "fail",
                     report.passed() ? "PASS" : "FAIL", held, total);
}

}  // namespace

std::string to_html(const Report& report) {
  const std::string title = escape_xml(report.title);
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n";
  html += fmt::format("<title>{} · Quanta</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n", title, kStyle);
  html += fmt::format("<div class=\"kicker\">Quanta · system {} · {} run</div>\n<h1>{}</h1>\n",
                      escape_xml(report.recipe), escape_xml(report.mode), title);
  html += verdict_html(report);
  html += paragraphs(report.summary);

  html += "<dl class=\"facts\">\n";
  const auto fact = [&](const char* name, const std::string& value) {
    html += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", name, escape_xml(value));
  };
  if (!report.data.name.empty()) fact("Data", report.data.name);
  if (!report.data.source.empty()) fact("Found in", report.data.source);
  if (report.data.train) fact("Training samples", format_number(double(report.data.train)));
  if (report.data.test) fact("Test samples", format_number(double(report.data.test)));
  fact("Seed", std::to_string(report.seed));
  fact("Time", format_seconds(report.seconds));
  html += "</dl>\n";

  if (!report.results.empty()) html += results_html(report);
  if (!report.checks.empty()) html += checks_html(report);
  int figure_index = 0;
  for (const Section& section : report.sections) {
    html += fmt::format("<section><h2>{}</h2>\n{}", escape_xml(section.title), paragraphs(section.text));
    for (const Table& table : section.tables) html += table_html(table);
    if (!section.figures.empty()) {
      html += "<div class=\"figures\">\n";
      for (const Figure& figure : section.figures) html += figure_html(figure, ++figure_index);
      html += "</div>\n";
    }
    html += "</section>\n";
  }
  if (!report.command.empty())
    html +=
        "<section><h2>Run it again</h2>\n<pre class=\"command\">" + escape_xml(report.command) + "</pre></section>\n";
  if (!report.config.empty())
    html += "<section><h2>Configuration</h2>\n<pre>" + escape_xml(report.config) + "</pre></section>\n";
  if (!report.environment.empty()) {
    html += "<section><h2>Environment</h2>\n<div class=\"scroll\"><table><tbody>\n";
    for (const auto& [name, value] : report.environment)
      html += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escape_xml(name), escape_xml(value));
    html += "</tbody></table></div></section>\n";
  }
  if (!report.artifacts.empty()) {
    html += "<section><h2>Files</h2>\n<ul class=\"files\">\n";
    for (const std::string& artifact : report.artifacts) html += "<li>" + escape_xml(artifact) + "</li>\n";
    html += "</ul></section>\n";
  }
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace quanta
