"""The style of the page: light or dark as the reader's system is, and narrow on a phone."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --back: #f6f7f9; --card: #fff; --text: #1c2330; --soft: #5d6778; --line: #dfe3ea;
  --bar: #3b6fd4; --track: #e9edf4; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #12151b; --card: #1b2029; --text: #e6e9ef; --soft: #98a2b3; --line: #2c333f;
    --bar: #6f9df2; --track: #262d39; --bad: #f2857d;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.25rem clamp(.75rem, 3vw, 2rem) 3rem; max-width: 76rem;
  background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .75rem; scroll-margin-top: 3.25rem; }
h3 { font-size: .95rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; }
bdi { overflow-wrap: anywhere; }
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: .88em; }
.flag { white-space: nowrap; }
.soft { color: var(--soft); }
.note { color: var(--soft); font-size: .88rem; }
.bad { color: var(--bad); }
nav {
  position: sticky; top: 0; z-index: 1; display: flex; gap: .15rem 1rem; overflow-x: auto;
  margin: 1rem calc(-1 * clamp(.75rem, 3vw, 2rem)) 0; padding: .6rem clamp(.75rem, 3vw, 2rem);
  background: var(--back); border-bottom: 1px solid var(--line); white-space: nowrap;
}
nav a { color: var(--soft); text-decoration: none; }
nav a:hover { color: var(--bar); }
main { padding-top: 1rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(6.75rem, 1fr)); gap: .6rem; }
.fact, .card {
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem; min-width: 0;
}
.fact { padding: .6rem .8rem; }
.fact b { display: block; font-size: 1.15rem; font-weight: 600; white-space: nowrap; }
.fact span { color: var(--soft); font-size: .85rem; }
.cards {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr));
  gap: .9rem;
}
.card { padding: .8rem .9rem; }
.card .type { color: var(--soft); font-size: .8rem; font-weight: 400; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .5rem; }
.thumb {
  display: grid; place-items: center; aspect-ratio: 1; padding: 0; overflow: hidden;
  border: 1px solid var(--line); border-radius: .4rem; background: var(--track);
  color: var(--bad); font: inherit; font-size: .75rem; cursor: zoom-in;
}
.thumb:hover, .thumb:focus-visible { border-color: var(--bar); }
.thumb img { width: 100%; height: 100%; object-fit: contain; }
.thumb span { padding: .4rem; max-height: 100%; overflow: hidden; overflow-wrap: anywhere; }
.histogram { display: block; width: 100%; height: auto; margin-top: .4rem; }
.histogram text { fill: var(--soft); font-size: 10px; }
.histogram .axis { stroke: var(--line); }
.histogram .bar { fill: var(--bar); }
.histogram .hit { fill: transparent; }
.histogram g:hover .hit { fill: var(--track); }
.bars { list-style: none; margin: .4rem 0 0; padding: 0; font-size: .88rem; }
.bars li {
  display: grid; grid-template-columns: minmax(4.5rem, 11rem) minmax(2rem, 1fr) auto 4rem;
  gap: .6rem; align-items: center; padding: .1rem 0;
}
.cards .bars li { grid-template-columns: minmax(4rem, 7.5rem) minmax(2rem, 1fr) auto 4rem; }
.bars li.rest, .cards .bars li.rest { display: block; color: var(--soft); }
.bars .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bars .track { background: var(--track); border-radius: .2rem; height: .75rem; }
.bars .track i { display: block; height: 100%; background: var(--bar); border-radius: .2rem; }
.bars .count { font-variant-numeric: tabular-nums; text-align: right; }
.bars .share {
  color: var(--soft); font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap;
}
.reason { margin: 0; }
.reason summary { margin-left: 1rem; padding: .35rem 0; list-style-position: outside; }
.reason .line { display: grid; grid-template-columns: 4.5rem 4rem 1fr; gap: .15rem .8rem; }
.reason .count, .reason .share { font-variant-numeric: tabular-nums; text-align: right; }
.reason .share { color: var(--soft); white-space: nowrap; }
.reason .why { grid-column: 3; min-width: 0; overflow-wrap: anywhere; }
.reason:not([open]) .why {
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden;
}
.reason .track { grid-column: 3; background: var(--track); border-radius: .2rem; height: .4rem; }
.reason .track i { display: block; height: 100%; background: var(--bar); border-radius: .2rem; }
.reason .scroll { margin: 0 0 .6rem 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td {
  text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0;
  border-top: 1px solid var(--line);
}
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tr:first-child > * { border-top: 0; }
.scroll td:not(.number) { min-width: 9rem; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
details { margin-top: .75rem; }
summary { cursor: pointer; }
.group { display: flex; gap: .9rem; align-items: flex-start; }
.group .thumb { flex: 0 0 6rem; width: 6rem; }
.group ul { margin: .25rem 0 0; padding-left: 1.1rem; font-size: .85rem; }
[popover] {
  width: min(44rem, 94vw); max-height: 92vh; margin: auto; padding: 1rem 1.1rem; overflow: auto;
  background: var(--card); color: var(--text); border: 1px solid var(--line); border-radius: .7rem;
}
[popover]::backdrop { background: rgb(0 0 0 / .55); }
[popover] img {
  display: block; max-width: 100%; max-height: 60vh; margin: .6rem auto; border-radius: .3rem;
}
.close {
  float: right; border: 1px solid var(--line); border-radius: .4rem; background: none;
  color: inherit; font: inherit; padding: .1rem .6rem; cursor: pointer;
}
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 34rem) {
  .bars li { grid-template-columns: minmax(4rem, 7.5rem) minmax(1.5rem, 1fr) auto; gap: .5rem; }
  .bars .share { display: none; }
  .reason .line { grid-template-columns: auto auto 1fr; }
  .reason .why, .reason .track { grid-column: 1 / -1; }
  .sheet { grid-template-columns: repeat(auto-fill, minmax(5.5rem, 1fr)); }
  .facts { grid-template-columns: repeat(3, 1fr); gap: .5rem; }
  .fact { padding: .45rem .6rem; }
}
"""
