"use strict";
// Each row of the page has the sound of its stretch; a segment may go on in the next row.
const rows = [...document.querySelectorAll("figure")].map(figure => ({
  sound: figure.querySelector("audio"),
  head: figure.querySelector(".head"),
  start: Number(figure.dataset.start),
  seconds: Number(figure.dataset.seconds),
})).filter(row => row.sound);
const problem = document.querySelector("[role=alert]");
let row = null;        // the one that plays
let until = Infinity;  // second of the recording at which it stops

function mark(from) {
  for (const button of document.querySelectorAll("[aria-pressed]")) button.removeAttribute("aria-pressed");
  if (from === null) return;
  for (const button of document.querySelectorAll(`[data-from="${from}"]`)) button.ariaPressed = "true";
}

function play(from, to) {
  if (row) row.sound.pause();
  row = rows.findLast(one => one.start <= from);
  until = to;
  row.sound.currentTime = from - row.start;
  row.sound.play().catch(error => {
    if (error.name === "AbortError") return;  // another segment was wanted meanwhile
    mark(null);
    problem.textContent = `The sound can’t be played: ${error.message}`;
  });
}

// Stop at the end of the segment: exactly while the page is seen, soon after it otherwise.
function follow() {
  if (!row || row.sound.paused) return false;
  row.head.style.left = `${100 * row.sound.currentTime / row.seconds}%`;
  if (row.start + row.sound.currentTime >= until) row.sound.pause();
  return !row.sound.paused;
}
function eachFrame() { if (follow()) requestAnimationFrame(eachFrame); }

for (const one of rows) {
  one.sound.addEventListener("play", () => {
    if (row !== one) {  // by its own control
      if (row) row.sound.pause();
      [row, until] = [one, Infinity];
    }
    for (const other of rows) other.head.hidden = other !== row;
    requestAnimationFrame(eachFrame);
  });
  one.sound.addEventListener("timeupdate", follow);
  one.sound.addEventListener("pause", () => {
    if (row !== one || one.sound.ended || !one.sound.paused) return;
    until = Infinity;
    mark(null);
  });
  one.sound.addEventListener("ended", () => {
    const next = rows[rows.indexOf(one) + 1];
    if (next && until > next.start) play(next.start, until);
    else mark(null);
  });
}
document.addEventListener("click", event => {
  const button = event.target.closest("[data-from]");
  if (!button) return;
  const {from, to} = button.dataset;
  if (button.ariaPressed) { row.sound.pause(); return; }
  play(Number(from), Number(to));
  mark(from);
});
