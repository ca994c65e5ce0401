// The dialog that asks for a key.

import { byId } from "./elements.js";

/** Ask for a key; null where none is given. */
export function keyFromDialog(wasWrong) {
  const dialog = byId("key-dialog"), field = byId("key");
  byId("key-wrong").textContent = wasWrong
    ? "The service does not accept this key. Check it, or ask for a new one." : "";
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "use" ? field.value.trim() : null);
      field.value = "";
    }, { once: true });
  });
}

byId("key-cancel").addEventListener("click", () => byId("key-dialog").close(""));
