// What this page asks the service, and what its refusals mean in plain words.

const KEY = "cracks-key";

/** Why a request failed, and what to do. */
export class Problem extends Error {
  constructor(status, { detail = "", retryAfter = null, requestId = "" } = {}) {
    const [title, advice] = inWords(status);
    super(title);
    Object.assign(this, { status, title, advice, detail, retryAfter, requestId });
  }
}

function inWords(status) {
  const words = {
    0: ["The service cannot be reached.", "Check your connection, then try again."],
    400: ["The service did not understand the request.", "Reload this page and try again."],
    401: ["The service asks for a key.", "Enter a key that whoever runs the service gave you."],
    403: ["Your key does not allow this.", "Ask whoever runs the service for another key."],
    404: ["This service cannot do that.", "Ask whoever runs it whether it is up to date."],
    408: ["The upload took too long.", "Try again with a faster connection, or send a smaller photo."],
    413: ["This photo is too large.", "Send a smaller copy of it, or cut it into parts."],
    415: ["This file is not a photo that can be read.",
      "Send a JPEG, PNG, WebP or TIFF file; export others, as HEIC, to JPEG first. If it is one of these, it is damaged."],
    422: ["Something that was entered is out of range.", "Correct it, then try again."],
    429: ["The service is busy.", "Your photo is sent again as soon as there is room."],
    503: ["No model is in service now.",
      "Try again later, or tell whoever runs it."],
    504: ["The response took too long.", "Try again, or send a smaller photo."],
  };
  return words[status] ?? ["The service failed.", "Try again. If it fails again, tell whoever runs it."];
}

/** Called when a key is wanted: takes whether the last one was wrong, gives a key or null. */
let askForKey = async () => null;

export function whenKeyIsWanted(ask) {
  askForKey = ask;
}

let asking = null; // one dialog for all requests that wait for a key

async function withKey(send) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const reply = await send(key ? { Authorization: `Bearer ${key}` } : {});
    if (reply.status !== 401) return reply;
    if (sessionStorage.getItem(KEY) !== key) continue; // another request has just got a new one
    asking ??= askForKey(key !== null).finally(() => { asking = null; });
    const entered = await asking;
    if (!entered) {
      sessionStorage.removeItem(KEY);
      throw problemOf(reply);
    }
    sessionStorage.setItem(KEY, entered);
  }
}

/** The JSON of a path. */
export async function get(path) {
  return JSON.parse(await (await fetched(path, "application/json")).text());
}

/** The picture at a path; an <img> itself cannot send a key. */
export async function picture(path) {
  return fetched(path, "image/png");
}

/** The content of a path, as a Blob. */
async function fetched(path, accept) {
  const reply = await withKey(async (headers) => {
    try {
      const response = await fetch(path, { headers: { ...headers, Accept: accept } });
      return {
        status: response.status,
        header: (name) => response.headers.get(name),
        blob: await response.blob(),
      };
    } catch {
      throw new Problem(0);
    }
  });
  if (reply.status !== 200) throw problemOf({ ...reply, text: await reply.blob.text() });
  return reply.blob;
}

/**
 * The prediction for a whole photograph.
 *
 * onProgress is told the share that is sent, 1 at its end. signal takes the request back.
 */
export async function inspect(file, { mmPerPixel, onProgress, signal }) {
  const reply = await upload(file, { mmPerPixel, onProgress, signal, accept: "application/json" });
  return JSON.parse(await reply.blob.text());
}

/** The photograph with the heat map as the service draws it, for files that a browser cannot. */
export async function overlay(file, { mmPerPixel, signal }) {
  const reply = await upload(file, { mmPerPixel, signal, accept: "image/jpeg" });
  return reply.blob;
}

async function upload(file, wanted) {
  const reply = await withKey((headers) => send(file, headers, wanted));
  if (reply.status !== 200) throw problemOf({ ...reply, text: await reply.blob.text() });
  return reply;
}

// XMLHttpRequest, because fetch cannot tell how much was sent.
function send(file, headers, { mmPerPixel, onProgress = () => {}, signal, accept }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("photo", file, file.name || "photo.jpg");
    request.open("POST", mmPerPixel ? `inspect?mm_per_px=${mmPerPixel}` : "inspect");
    request.responseType = "blob";
    request.setRequestHeader("Accept", accept);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    };
    request.upload.onload = () => onProgress(1);
    request.onload = () => resolve({
      status: request.status,
      header: (name) => request.getResponseHeader(name),
      blob: request.response,
      text: "",
    });
    request.onerror = () => reject(new Problem(0));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    if (signal?.aborted) reject(new DOMException("cancelled", "AbortError"));
    else request.send(form);
  });
}

function problemOf({ status, header, text }) {
  let detail = "", requestId = "";
  try {
    const said = JSON.parse(text);
    detail = typeof said.detail === "string" ? said.detail : "";
    requestId = said.request_id ?? "";
  } catch {
    // not from the service itself but from something before it
  }
  const seconds = Number.parseInt(header("Retry-After") ?? "", 10);
  return new Problem(status, {
    detail, requestId: requestId || header("X-Request-ID") || "",
    retryAfter: Number.isFinite(seconds) ? seconds : null,
  });
}
