// What comes before everything else, as a plain script in the head: dark or light, so that a choice never flashes the
// other one; and the first question to the daemon, which is answered while the modules are still on their way.
"use strict";

window.firstOverview = fetch("/api/v1/overview", {
  cache: "no-store",
  credentials: "omit",
  signal: AbortSignal.timeout(10_000),
});
// Who takes it up looks at what became of it.
window.firstOverview.catch(() => undefined);

(() => {
  const KEY = "unitmedic-theme";
  const root = document.documentElement;
  // Storage may be forbidden; then the choice lasts as long as the page.
  const kept = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const keep = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // It is forgotten with the page.
    }
  };
  const chosen = kept();
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;

  const isDark = () =>
    (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const word = (button) => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Light theme" : "Dark theme");
  };
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    word(button);
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      keep(root.dataset.theme);
      word(button);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => word(button));
  });
})();
