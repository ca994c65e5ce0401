// Elements of the page: found by id, and made with text only, so that nothing from outside is markup.

export function byId(id) {
  return document.getElementById(id);
}

/** An element with properties (or data-/aria- attributes) and children. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

/** The terms and values of a definition list; pairs without a value are left out. */
export function definitions(pairs) {
  return pairs
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value)));
}

/** A table that scrolls in a frame of its own where the screen is narrow. */
export function scrollingTable(title, columns, rows) {
  const head = columns.map((column) => element("th", { scope: "col" }, column));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  const table = element(
    "table", {},
    element("caption", { className: "hidden" }, title),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...body),
  );
  const frame = { className: "scroller", role: "region", "aria-label": title, tabIndex: 0 };
  return element("div", frame, table);
}
