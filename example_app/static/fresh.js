// Say "live" only while data comes, and how old the last one is.

const STALE = 3000; // milliseconds, after which it is not live any more
const live = document.getElementById("live");
const age = document.getElementById("age");
let came = null;
let frozen = false;

export function dataCame() {
  came = Date.now();
  tell();
}

function tell() {
  const old = came === null ? null : Math.abs(Date.now() - came); // clocks are set back, too
  if (frozen || document.hidden) say("paused", "off");
  else if (old === null) say("connecting", "");
  else if (old < STALE) say("live", "on");
  else say("stale", "off");
  document.body.classList.toggle("stale", live.className === "off");
  age.textContent = old === null ? "" : `data ${Math.floor(old / 1000)} s old`;
}

function say(text, name) {
  if (live.textContent !== text) live.textContent = text; // else a screen reader says it again
  live.className = name;
}

// A page that is frozen runs nothing until it is resumed, and must not say "live" meanwhile.
for (const event of ["visibilitychange", "freeze", "resume"]) {
  document.addEventListener(event, () => {
    frozen = event === "freeze";
    tell();
  });
}
setInterval(tell, 250);
tell();
