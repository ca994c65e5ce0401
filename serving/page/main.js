// The page: photos come in, and what becomes of them is shown.

import * as about from "./about.js";
import { startColours } from "./colours.js";
import { byId, element } from "./elements.js";
import { labelOf } from "./heat.js";
import { keyFromDialog } from "./key.js";
import { Photos } from "./photos.js";
import * as result from "./prediction.js";
import { showCountdown, showProblem } from "./problems.js";
import { whenKeyIsWanted } from "./service.js";

let modelVersion = null;

const ifChosen = (show) => (photo) => { if (photo === photos.chosen) show(photo); };
const photos = new Photos({
  changed,
  arrived,
  progressed: ifChosen(showProgress),
  counted: ifChosen(showCountdown),
}, result.scale);

const waysOn = {
  repeat: (photo) => photos.repeat(photo),
  giveUp: (photo) => {
    photos.giveUp(photo);
    changed(photo);
  },
  chooseAnother: () => byId("files").click(),
};

// --- what is seen ---------------------------------------------------------------------------------

/** Show what has become of a photo. */
function changed(photo) {
  showPhotos();
  if (photo !== photos.chosen) return;
  showProblem(photo, waysOn);
  showProgress(photo);
  const isDone = photo.state === "done";
  byId("result").hidden = !photo.picture;
  byId("result").classList.toggle("is-waiting", !isDone);
  byId("result-title").textContent = photo.name;
  if (!photo.picture) result.showNothing();
  else if (isDone) result.showPrediction(photo);
  else result.showPhoto(photo);
}

function arrived(photo) {
  if (photo === photos.chosen) {
    const idle = [document.body, byId("choose"), byId("take"), byId("cancel"), byId("main")];
    if (idle.includes(document.activeElement)) byId("result-title").focus();
  }
  result.say(`${photo.name}: ${result.summary(photo)}`);
  about.showPredictions();
  if (photo.prediction.model_version !== modelVersion) {
    modelVersion = photo.prediction.model_version;
    about.showModel();
    about.showHistory();
  }
}

function showPhotos() {
  byId("photos").hidden = photos.all.length < 2;
  byId("photos").replaceChildren(...photos.all.map((photo) => {
    const button = element(
      "button", { type: "button", "aria-current": String(photo === photos.chosen) },
      element("span", { className: "photo-name" }, photo.name),
      element("span", { className: "soft small" }, stateOf(photo)),
    );
    button.addEventListener("click", () => {
      photos.choose(photo);
      byId("photos").children[photos.all.indexOf(photo)].firstElementChild.focus();
    });
    return element("li", {}, button);
  }));
}

function stateOf(photo) {
  if (photo.state === "done") return labelOf(photo.prediction.score, photo.threshold);
  return photo.state === "sending" ? "at work…" : photo.state;
}

function showProgress({ state, sent, name }) {
  byId("progress").hidden = !["waiting", "sending"].includes(state);
  if (byId("progress").hidden) return;
  const bar = byId("progress-bar");
  let text = `${name} waits for the one before it.`;
  if (state === "sending") text = sent < 1 ? `Sending ${name}…` : `The model looks at ${name}…`;
  if (byId("progress-text").textContent !== text) byId("progress-text").textContent = text;
  if (state === "sending" && sent < 1) bar.value = sent;
  else bar.removeAttribute("value");
}

// --- photos come in -------------------------------------------------------------------------------

function acceptDrops() {
  const curtain = byId("drop");
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    curtain.hidden = false;
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) curtain.hidden = true; });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    curtain.hidden = true;
    photos.add(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) photos.add(event.clipboardData.files);
  });
}

function acceptFiles(button, input) {
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    photos.add(input.files);
    input.value = ""; // the same file may be chosen again
  });
}

function cancel() {
  photos.cancel();
  byId("choose").focus();
  result.say(`${photos.chosen.name}: cancelled`);
}

// --- the page -------------------------------------------------------------------------------------

startColours();
acceptFiles(byId("choose"), byId("files"));
acceptFiles(byId("take"), byId("camera"));
acceptDrops();
result.start(showPhotos);
byId("cancel").addEventListener("click", cancel);
byId("refresh").addEventListener("click", about.showPredictions);
whenKeyIsWanted(keyFromDialog);
modelVersion = await about.showAll();
