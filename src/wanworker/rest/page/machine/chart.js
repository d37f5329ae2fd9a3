/** Recent renders as bars: how many seconds each took, and what of them was the model's loading. */

import { clip, nameOf } from "../core/words.js";
import { html } from "../parts/hooks.js";

const HIGH = 120;
const WIDE = 24;

export function Chart({ done }) {
  const totals = done.map((job) => job.timings.total_s);
  const most = Math.max(...totals);
  const sorted = [...totals].sort((one, other) => one - other);
  const middle = sorted[Math.floor(sorted.length / 2)];
  const width = done.length * WIDE;
  return html`<figure class="chart">
    <svg viewBox=${`0 0 ${width} ${HIGH}`} style=${`--bars: ${done.length}`} role="img" aria-label=${`The last ${done.length} videos took ${clip(sorted[0])} to ${clip(most)}, half of them at most ${clip(middle)}.`} preserveAspectRatio="none">
      ${done.map((job, index) => html`<${Bar} key=${job.job_id} job=${job} left=${index * WIDE} most=${most} />`)}
    </svg>
    <figcaption>
      <span><i class="key whole"></i>whole job</span><span><i class="key load"></i>loading of it</span>
      <span class="note">Half of the last ${done.length} took at most ${clip(middle)}; the longest ${clip(most)}.</span>
    </figcaption>
  </figure>`;
}

function Bar({ job, left, most }) {
  const { total_s: total, load_s: load = 0 } = job.timings;
  const high = Math.max(2, (total / most) * HIGH);
  const loading = Math.min(high, (load / most) * HIGH);
  return html`<g>
    <title>${`${clip(total)}: ${nameOf(job).slice(0, 80)}`}</title>
    <rect class="bar" x=${left + 4} y=${HIGH - high} width=${WIDE - 8} height=${high} rx="3" />
    ${loading > 1 && html`<rect class="bar load" x=${left + 4} y=${HIGH - loading} width=${WIDE - 8} height=${loading} rx="3" />`}
  </g>`;
}
