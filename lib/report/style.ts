/** Classes `s0` to `s100`, for shades by a share in percent. */
const shares = Array.from({ length: 101 }, (_, share) => `.s${share}{--s:${share}%}`).join('');

/** The page's style: one column of text, figures to its full width, both themes from the same variables. */
export const pageStyle = `${shares}
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #ffffff; --ink: #1d2129; --soft: #5d6673; --line: #e3e1dc; --grid: #eceae5;
  --accent: #22262e; --before: #97a0ad; --good: #23794a; --bad: #b3372f; --wave: #5b6470; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --card: #1b1e24; --ink: #e8e9ec; --soft: #98a1ae; --line: #2c3038;
  --grid: #262a31; --accent: #f3f4f6; --before: #6d7683; --good: #63c28d; --bad: #f08a80; --wave: #8d96a3; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 "Inter", "Helvetica Neue", Helvetica, "Segoe UI", Roboto, Arial, sans-serif; }
main, .masthead { max-width: 1120px; margin: 0 auto; padding: 0 28px; }
.masthead { padding-top: 52px; }
.masthead .brand { font-weight: 600; letter-spacing: .01em; color: var(--soft); margin: 0; }
h1 { font-size: clamp(28px, 4.2vw, 44px); line-height: 1.14; letter-spacing: -.021em; font-weight: 650; margin: 10px 0 14px; max-width: 22em; text-wrap: balance; }
.lede { font-size: 18px; color: var(--soft); max-width: 44em; margin: 0; text-wrap: pretty; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 28px; margin: 22px 0 0; padding: 0; list-style: none; color: var(--soft); font-size: 14px; }
.facts b { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
section { margin: 60px 0 0; }
h2 { font-size: 24px; line-height: 1.25; letter-spacing: -.012em; font-weight: 650; margin: 0 0 6px; }
h3 { font-size: 15px; font-weight: 600; margin: 0; }
section > p { color: var(--soft); max-width: 46em; margin: 0 0 20px; text-wrap: pretty; }
.legend { display: inline-flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; color: var(--soft); font-weight: 400; }
.emotions { position: sticky; top: 0; z-index: 3; display: flex; padding: 10px 0; margin-bottom: 10px; background: var(--paper); border-bottom: 1px solid var(--line); }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 3px; background: var(--c); margin-right: 7px; }
.key::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px; background: currentColor; }
.key.after::before { background: var(--accent); } .key.before::before { background: none; border: 2px solid var(--before); }
.key.chance::before { width: 2px; height: 13px; border-radius: 0; background: var(--soft); vertical-align: -2px; }

.scores { border-top: 1px solid var(--line); }
.score { display: grid; grid-template-columns: 250px 1fr 76px 76px 62px; gap: 0 18px; align-items: center; padding: 13px 0; border-bottom: 1px solid var(--line); }
.score.head { color: var(--soft); font-size: 13px; padding: 8px 0; }
.score.head > :nth-child(n+3) { text-align: right; }
.scale-head { display: flex; justify-content: space-between; }
.measure b { font-weight: 600; display: block; line-height: 1.3; } .measure small { color: var(--soft); font-size: 13px; line-height: 1.35; display: block; }
.scale svg { display: block; width: 100%; height: 30px; overflow: visible; }
.scale .track { stroke: var(--line); }
.scale .chance { stroke: var(--soft); stroke-width: 2; opacity: .75; }
.scale .point { fill: var(--accent); }
.scale .point.before { fill: var(--paper); stroke: var(--before); stroke-width: 2.5; }
.scale .join { stroke: var(--before); stroke-width: 2; }
.scale .interval { fill: var(--accent); opacity: .16; }
.scale .interval.before { fill: var(--before); opacity: .28; }
.number { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft); }
.number.strong { color: var(--ink); font-weight: 650; } .number.better { color: var(--good); } .number.worse { color: var(--bad); }

.matrices { display: flex; flex-wrap: wrap; gap: 28px 56px; }
figure { margin: 0; } figcaption { font-size: 15px; font-weight: 600; margin-bottom: 10px; }
.scroll { overflow-x: auto; }
.matrix table { border-collapse: separate; border-spacing: 3px; font-variant-numeric: tabular-nums; }
.matrix th { font-weight: 500; font-size: 13px; color: var(--soft); padding: 0 8px; white-space: nowrap; }
.matrix tbody th { text-align: left; color: var(--ink); padding-left: 0; }
.matrix .corner { text-align: left; padding: 0; }
.matrix td { width: 76px; height: 56px; text-align: center; border-radius: 6px; background: color-mix(in srgb, var(--c) calc(var(--s) * .82), var(--card)); box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--c) 22%, var(--line)); }
.matrix td b { display: block; font-size: 17px; font-weight: 600; line-height: 1.15; } .matrix td small { font-size: 12px; opacity: .72; }
.matrix td.miss b { font-weight: 450; }
.matrix td.recall { background: none; box-shadow: none; color: var(--soft); font-size: 14px; width: 62px; }

.utterance { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 20px 12px; margin: 0 0 16px; }
.utterance header { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 12px; margin-bottom: 12px; }
.utterance h3 { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 100%; }
.utterance header p { margin: 0 0 0 auto; display: flex; align-items: center; gap: 8px; }
.verdict { font-size: 12px; font-weight: 600; border-radius: 99px; padding: 1px 9px; border: 1px solid currentColor; }
.verdict.right { color: var(--good); } .verdict.wrong { color: var(--bad); }
.chip { font-size: 13px; padding: 2px 10px; border-radius: 99px; background: color-mix(in srgb, var(--c) 17%, transparent); white-space: nowrap; }
.chip::before { content: ""; display: inline-block; width: 8px; height: 8px; border-radius: 50%; background: var(--c); margin-right: 7px; }
.arrow { color: var(--soft); }
.play { font: 12px/1 sans-serif; width: 30px; height: 30px; border-radius: 50%; border: 1px solid var(--line); background: none; color: var(--ink); cursor: pointer; }
.rows { display: grid; grid-template-columns: 118px 1fr; gap: 5px 14px; align-items: center; }
.rows .name { font-size: 13px; color: var(--soft); text-align: right; line-height: 1.25; }
.rows .name em { font-style: normal; color: var(--ink); border-bottom: 2px solid var(--accent); }
.lane { position: relative; overflow: hidden; border-radius: 4px; background: var(--grid); touch-action: pan-y; }
.lane svg { display: block; width: 100%; height: 100%; }
.lane.wave { height: 92px; background: none; border-radius: 4px 4px 0 0; } .lane.strip { height: 17px; } .lane.strip.faint { height: 10px; } .lane.posterior { height: 58px; }
.lane rect, .lane polygon { fill: var(--c); }
.lane.curve { height: 58px; } .curve polyline { fill: none; stroke: var(--c); stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.curve polyline.faint { opacity: .35; }
.bands { opacity: .2; }
.lane.wave polygon.sound { fill: var(--wave); opacity: .58; }
.over { fill: none; stroke: var(--accent); stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.level { stroke: var(--accent); stroke-width: 1; stroke-dasharray: 3 4; opacity: .6; vector-effect: non-scaling-stroke; }
.missing { position: absolute; inset: 0; display: grid; place-items: center; font-size: 13px; color: var(--soft); }
.cursor { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--ink); display: none; pointer-events: none; }
.axis svg { display: block; width: 100%; height: 18px; overflow: visible; }
.axis text { font-size: 12px; fill: var(--soft); font-variant-numeric: tabular-nums; text-anchor: middle; }
.axis text:first-child { text-anchor: start; } .axis .end { text-anchor: end; }
.readout { display: block; min-height: 20px; font-size: 12.5px; line-height: 20px; color: var(--soft); font-variant-numeric: tabular-nums; white-space: pre-wrap; margin-top: 2px; }

.stages { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 500px), 1fr)); gap: 26px 24px; }
.stage > h3 { margin-bottom: 10px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr)); gap: 14px; }
.chart { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 14px 8px; }
.chart figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 2px 12px; font-size: 14px; margin-bottom: 6px; }
.chart svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--grid); } .tick { font-size: 11px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.line { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; } .dot { fill: currentColor; }
.tone0 { color: var(--accent); } .tone1 { color: #b0568f; } .tone2 { color: #3f938a; } .tone3 { color: #b98a2f; }
.scatter .dot { opacity: .45; } .scatter .equal { stroke: var(--before); stroke-dasharray: 4 4; }
.legend .key { white-space: nowrap; } .chart .legend .key::before { border-radius: 2px; height: 3px; width: 14px; vertical-align: 4px; }

.folds { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 15px; }
.folds th, .folds td { text-align: right; padding: 8px 0 8px 18px; border-bottom: 1px solid var(--line); white-space: nowrap; }
.folds th { font-weight: 500; font-size: 13px; color: var(--soft); } .folds :is(th, td):first-child { text-align: left; padding-left: 0; }
.folds small { color: var(--soft); }
details { margin-top: 20px; } summary { cursor: pointer; font-weight: 600; font-size: 15px; }
pre { overflow: auto; max-height: 420px; padding: 16px; background: var(--card); border: 1px solid var(--line); border-radius: 12px; font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
footer { margin: 64px 0 48px; color: var(--soft); font-size: 13px; }

@media (max-width: 760px) {
  main, .masthead { padding-left: 18px; padding-right: 18px; }
  section { margin-top: 44px; }
  .score { grid-template-columns: repeat(3, 1fr); gap: 6px 12px; }
  .score.head { display: flex; } .score.head > :not(.scale-head) { display: none; } .scale-head { flex: 1; }
  .measure, .scale { grid-column: 1 / -1; }
  .number { text-align: left; font-size: 14px; } .number::before { content: attr(data-name) " "; color: var(--soft); font-weight: 400; }
  .matrix td { width: 56px; height: 50px; }
  .utterance { padding: 14px 14px 10px; } .utterance header p { margin-left: 0; width: 100%; }
  .rows { grid-template-columns: 1fr; gap: 3px; } .rows .name { text-align: left; margin-top: 4px; } .rows .name:empty { display: none; }
}
@media print { body { background: #fff; } .emotions { position: static; } .utterance, .chart { break-inside: avoid; } }
`;
