/** A grid that mounts the rows in sight only, however many items there are. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "../parts/hooks.js";

/** The narrowest card, the gap, and what stands below its picture, in px; as in gallery.css. */
const LEAST = 220;
const LEAST_ON_PHONES = 150;
const GAP = 16;
const BELOW = 76;
/** Rows that are mounted above and below those in sight, so that Tab finds the next card. */
const SPARE = 1;

/** How the grid lies in *width* px. Pure. */
export function layout(width) {
  const least = width < 560 ? LEAST_ON_PHONES : LEAST;
  const columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  const card = (width - (columns - 1) * GAP) / columns;
  return { columns, rowHeight: Math.round((card * 9) / 16) + BELOW + GAP };
}

/** The first and the last (exclusive) item to mount, for a grid whose top lies *top* px above the window. Pure. */
export function span({ columns, rowHeight }, top, height, count) {
  const first = Math.max(0, Math.floor(top / rowHeight) - SPARE);
  const last = Math.ceil((top + height) / rowHeight) + SPARE;
  return [Math.min(first * columns, count), Math.min(count, Math.max(0, last) * columns)];
}

/**
 * *facts* gives what an item's card shows, *render* makes the card of it: a card whose facts are the same stays as it
 * is. *loaded* counts what was fetched, of which *items* may be a part: it says that a fetch has brought something.
 * *memory* keeps in `top` how far was scrolled, so that whoever comes back finds the place again.
 */
export function Grid({ items, loaded, hasMore, onMore, facts, render, memory }) {
  const place = useRef();
  const cardOf = useKept(facts, render);
  const [view, setView] = useState({ width: 0, top: 0, height: 0 });
  useLayoutEffect(() => watch(place.current, setView), []);
  useLayoutEffect(() => (view.width ? comeBack(place.current.closest(".view"), memory) : undefined), [view.width > 0]);
  const shape = layout(view.width || 1000);
  const [first, last] = view.width ? span(shape, view.top, view.height, items.length) : [0, 0];
  const rows = Math.ceil(items.length / shape.columns);
  const isNearEnd = last >= items.length - shape.columns;
  useEffect(() => {
    if (view.width && hasMore && isNearEnd) onMore();
  }, [view.width > 0, hasMore, isNearEnd, loaded]);
  const above = Math.floor(first / shape.columns) * shape.rowHeight;
  return html`<div class="grid-space" ref=${place} style=${`--space: ${rows * shape.rowHeight}px`}>
    <ol class="grid" id="jobs" style=${`--columns: ${shape.columns}; --above: ${above}px; --row: ${shape.rowHeight - GAP}px`}>
      ${items.slice(first, last).map((item, index) => cardOf(item, first + index))}
    </ol>
    ${hasMore && html`<p class="visually-hidden" role="status">More are being loaded.</p>`}
  </div>`;
}

/** Keep the cards of the last two renderings: Preact passes over one that is the same object. */
function useKept(facts, render) {
  const kept = useRef({ before: new Map(), now: new Map() });
  kept.current = { before: kept.current.now, now: new Map() };
  return (item, index) => {
    const shows = facts(item, index);
    const old = kept.current.before.get(item);
    const isSame = old && old.shows.every((fact, at) => fact === shows[at]);
    const card = isSame ? old : { shows, made: render(shows) };
    kept.current.now.set(item, card);
    return card.made;
  };
}

/** Scroll to where *memory* says, and keep it up to date. Returns how to stop. */
function comeBack(scroller, memory) {
  scroller.scrollTop = memory.top;
  const keep = () => (memory.top = scroller.scrollTop);
  scroller.addEventListener("scroll", keep, { passive: true });
  return () => scroller.removeEventListener("scroll", keep);
}

/** Tell how far the grid is scrolled and how wide it is, once a frame at most. Returns how to stop. */
function watch(grid, tell) {
  const scroller = grid.closest(".view");
  let frame = 0;
  const look = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      const top = Math.max(0, scroller.getBoundingClientRect().top - grid.getBoundingClientRect().top);
      const news = { width: grid.clientWidth, top: Math.round(top), height: scroller.clientHeight };
      tell((view) => (["width", "top", "height"].every((name) => view[name] === news[name]) ? view : news));
    });
  };
  const size = new ResizeObserver(look);
  size.observe(grid);
  size.observe(scroller);
  scroller.addEventListener("scroll", look, { passive: true });
  look();
  return () => {
    cancelAnimationFrame(frame);
    size.disconnect();
    scroller.removeEventListener("scroll", look);
  };
}
