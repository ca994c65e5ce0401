// Before anything is drawn, so that nobody is dazzled: the colours that were chosen last time.
// No module, because those wait until the page is read.
"use strict";

{
  const theme = localStorage.getItem("cracks-theme");
  if (["light", "dark"].includes(theme)) document.documentElement.dataset.theme = theme;
}
