// What went wrong with a photo, in words, and the ways on.

import { byId, element } from "./elements.js";
import * as words from "./words.js";

/** Show the problem of a photo, or none. ways: repeat, giveUp, and chooseAnother. */
export function showProblem(photo, ways) {
  const place = byId("problem"), { problem } = photo;
  place.hidden = !problem;
  place.replaceChildren(...(problem ? problemInWords(photo, ways) : []));
  if (problem) showCountdown(photo);
}

function problemInWords(photo, ways) {
  const { problem } = photo;
  const lines = [
    problem.status !== 401 && problem.detail && `The service says: ${problem.detail}`,
    problem.requestId && `Request ${problem.requestId}`,
  ].filter(Boolean);
  return [
    element("p", { className: "strong" }, `${photo.name}: ${problem.title}`),
    element("p", {}, problem.advice),
    ...lines.map((line) => element("p", { className: "soft small" }, line)),
    element("div", { className: "buttons" }, ...buttons(photo, ways)),
  ];
}

function buttons(photo, ways) {
  const button = (text, act) => {
    const made = element("button", { type: "button" }, text);
    made.addEventListener("click", act);
    return made;
  };
  if ([413, 415].includes(photo.problem.status)) {
    return [button("Choose another photo", ways.chooseAnother)];
  }
  const repeat = button("Try again", () => ways.repeat(photo));
  if (!photo.seconds) return [repeat];
  const stop = button("Give up", () => ways.giveUp(photo));
  // Not read out second by second.
  return [repeat, stop, element("span", { id: "countdown", className: "soft", "aria-live": "off" })];
}

/** Show how long it is until a photo is sent again. */
export function showCountdown(photo) {
  const place = byId("countdown");
  if (place) place.textContent = `Trying again in ${words.counted(photo.seconds, "second")}…`;
}
