// The button that chooses light, dark, or what the system says; theme.js sets what was chosen before.

import { byId } from "./elements.js";

const THEMES = { system: "auto", light: "light", dark: "dark" };

/** Let the button work. onChange is called whenever the colours have become others. */
export function startColours(onChange = () => {}) {
  show();
  byId("theme").addEventListener("click", () => {
    chooseNext();
    onChange();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
}

function show() {
  byId("theme").textContent = `Colours: ${THEMES[themeOfNow()]}`;
}

function themeOfNow() {
  return document.documentElement.dataset.theme ?? "system";
}

function chooseNext() {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(themeOfNow()) + 1) % names.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  localStorage.setItem("cracks-theme", next);
  show();
}
