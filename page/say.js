// What a screen reader says by itself: answers to deeds at once, changes of the host in short and never in floods.

/** Changes of the host are said no closer than this. */
const GAP_MS = 8000;
/** Several changes that come together are said as one. */
const SETTLE_MS = 1500;

let lastSaid = 0;
let timer;
let waiting = "";

export function say(text) {
  const region = document.getElementById("said");
  if (!region) return;
  // The same words twice are said twice only where the region was empty between.
  region.textContent = "";
  setTimeout(() => (region.textContent = text), 50);
}

/** Says it when its turn comes; a later text takes its place. */
export function saySoon(text) {
  waiting = text;
  if (timer) return;
  timer = setTimeout(
    () => {
      timer = undefined;
      lastSaid = Date.now();
      say(waiting);
    },
    Math.max(SETTLE_MS, lastSaid + GAP_MS - Date.now()),
  );
}
