// The console works without this file; with it, pages follow what happens.
"use strict";

// Morphing keeps what the visitor opened.
Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.tagName === "DETAILS");

const gap = 400; // ms between two looks, at least
const live = { source: null, timer: 0, last: 0 };

function main() { return document.getElementById("main"); }

function busy() { // somebody is writing here
  const on = document.activeElement;
  if (on && main().contains(on) && on.matches("input, textarea, select")) return true;
  return [...main().querySelectorAll("textarea")].some((t) => t.value !== t.defaultValue);
}

function refresh() {
  if (live.timer || document.hidden) return;
  const wait = Math.max(0, live.last + gap - Date.now()) + Math.random() * 100;
  live.timer = setTimeout(() => {
    live.timer = 0;
    live.last = Date.now();
    if (busy()) return setTimeout(refresh, 2000);
    htmx.trigger(main(), "changed");
  }, wait);
}

function say(word, on) {
  const at = document.getElementById("live");
  at.classList.toggle("on", on);
  at.querySelector(".word").textContent = word;
}

function follow() {
  if (!main().hasAttribute("hx-get") || live.source || document.hidden) return;
  let broken = false;
  live.source = new EventSource("/ui/live");
  live.source.addEventListener("changed", refresh);
  live.source.addEventListener("open", () => {
    say("live", true);
    if (broken) refresh(); // something may have happened meanwhile
    broken = false;
  });
  live.source.addEventListener("error", () => {
    broken = true;
    say("offline", false);
    if (live.source && live.source.readyState === EventSource.CLOSED) {
      live.source = null;
      setTimeout(() => { follow(); refresh(); }, 3000);
    }
  });
}

// A hidden page holds no connection: browsers have few of them for one server.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    if (live.source) live.source.close();
    live.source = null;
    return;
  }
  follow();
  refresh();
});
window.addEventListener("pagehide", () => { if (live.source) live.source.close(); live.source = null; });
window.addEventListener("pageshow", (e) => { if (e.persisted) follow(); });

const steps = [[60, "s"], [60, "m"], [24, "h"], [7, "d"], [52, "w"], [Infinity, "y"]];
function ago(then) {
  let n = Math.max(0, (Date.now() - then) / 1000);
  for (const [size, unit] of steps) {
    if (n < size) return Math.floor(n) + " " + unit + " ago";
    n /= size;
  }
}
function times() {
  for (const t of document.querySelectorAll("time[datetime]")) t.textContent = ago(Date.parse(t.dateTime));
}

document.addEventListener("htmx:afterSwap", times);
document.addEventListener("htmx:responseError", () => say("refused", false));

document.addEventListener("change", async (e) => {
  if (e.target.matches("[data-submit]")) e.target.form.requestSubmit();
  if (e.target.matches("[data-file]") && e.target.files[0]) {
    document.getElementById(e.target.dataset.file).value = await e.target.files[0].text();
  }
});
document.addEventListener("dragover", (e) => { if (e.target.closest("[data-drop]")) e.preventDefault(); });
document.addEventListener("drop", async (e) => {
  const onto = e.target.closest("[data-drop]");
  if (!onto || !e.dataTransfer.files[0]) return;
  e.preventDefault();
  onto.value = await e.dataTransfer.files[0].text();
});

document.querySelector('nav [aria-current="page"]')?.scrollIntoView({ block: "nearest", inline: "center" });
times();
setInterval(times, 10000);
follow();
