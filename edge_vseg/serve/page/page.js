"use strict";
// One WebSocket brings pictures (binary) and states (text). The page confirms each picture after it has drawn it, and
// gets the next one then: however slow the network, a picture never waits behind older ones.

const SILENT_MS = 2000;
const page = {
  socket: null, info: null, view: "", number: 0, receivedAt: 0, header: null, state: null, stateAt: 0, retryMs: 500,
  retryTimer: 0, edited: false, markTimer: 0,
};

// The token must not stay in the address, which is kept in histories and shown on screens.
if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname);

const ms = (value) => (value === null || value === undefined ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);
const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`);
const duration = (s) => (s < 60 ? `${Math.round(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`);

// Start and connection.

async function start() {
  try {
    showCameras(await ask("api/cameras"));
    await showCamera();
  } catch (error) {
    showVeil("No connection", error.message);
    setTimeout(start, 2000);
  }
}

async function ask(path) {
  const answer = await fetch(path);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

// Shows the chosen camera, and nothing of the one before it.
async function showCamera() {
  const name = cameras.name;
  const info = await ask(ofCamera("api/server"));
  if (name !== cameras.name) return;
  const before = page.socket;
  clearTimeout(page.retryTimer);
  Object.assign(page, { socket: null, info, number: 0, header: null, state: null, stateAt: performance.now(), edited: false });
  if (before) before.close();
  const canvas = byId("picture");
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  for (const id of ["frame", "rate", "latency-of", "latency", "counts", "steps"]) byId(id).replaceChildren();
  stepColors.clear();
  delete byId("parameters").dataset.policy;
  showServer();
  connect();
}

window.addEventListener("hashchange", () => {
  if (!cameras.all.length || wantedCamera() === cameras.name) return;
  cameras.name = wantedCamera();
  markCamera();
  showCamera().catch((error) => showVeil("No connection", error.message));
});

function showServer() {
  const info = page.info;
  document.title = `${cameras.all.length > 1 ? cameras.name : info.source} – edge-vseg`;
  byId("source").textContent = info.source;
  byId("about").textContent = `edge-vseg ${info.version} · ${info.bundle} · ${info.variant} on ${info.provider}`;
  byId("views").replaceChildren(...info.views.map((view) => {
    const button = element("button", view, { type: "button", role: "radio", "data-view": view });
    button.addEventListener("click", () => choose(view));
    return button;
  }));
  byId("legend").replaceChildren(...info.labels.map((label) => {
    const item = element("li", "");
    item.append(swatch(label.color), label.name);
    return item;
  }));
  byId("policy").replaceChildren(...info.policies.map((policy) => element("option", policy.name, { value: policy.name })));
  byId("schedule").hidden = false;
  if (info.changes !== "allowed") {
    byId("apply").disabled = true;
    byId("applied").textContent = "This server was started with --no-changes.";
  }
  choose(page.view || "overlay");
}

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${location.pathname}${ofCamera("stream")}`);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => { page.retryMs = 500; sendView(); });
  socket.addEventListener("message", (event) => {
    if (page.socket !== socket) return; // of another camera
    if (typeof event.data === "string") showState(JSON.parse(event.data));
    else showPicture(event.data, socket);
  });
  socket.addEventListener("close", () => {
    if (page.socket !== socket) return;
    page.socket = null;
    page.retryTimer = setTimeout(connect, page.retryMs);
    page.retryMs = Math.min(10000, 2 * page.retryMs);
  });
  page.socket = socket;
}

function send(message) {
  if (page.socket && page.socket.readyState === WebSocket.OPEN) page.socket.send(JSON.stringify(message));
}

function sendView() {
  send({ view: document.hidden ? "" : page.view });
}

function choose(view) {
  page.view = view;
  for (const button of byId("views").children) {
    button.setAttribute("aria-checked", String(button.dataset.view === view));
  }
  sendView();
}

// The picture.

async function showPicture(buffer, from) {
  const length = new DataView(buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  try {
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(buffer, 4 + length)], { type: "image/jpeg" }));
    if (header.view === page.view && page.socket === from) {
      const canvas = byId("picture");
      if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
        canvas.width = bitmap.width;
        canvas.height = bitmap.height;
      }
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      page.header = header;
      page.receivedAt = performance.now();
      canvas.dataset.number = header.number;
      showFrame();
    }
    bitmap.close();
  } finally {
    if (page.socket === from) send({ shown: header.number });
  }
}

function showFrame() {
  const header = page.header;
  if (!header) return;
  const since = performance.now() - page.receivedAt;
  const labels = header.view === "camera" ? "" : `, labels ${ms(header.labels_age_ms + since)} (${header.source})`;
  byId("frame").textContent = `frame ${header.seq}, ${ms(header.age_ms + since)} old${labels}`;
}

async function askPixel(x, y) {
  const mark = byId("mark");
  mark.style.left = `${100 * x}%`;
  mark.style.top = `${100 * y}%`;
  mark.hidden = false;
  clearTimeout(page.markTimer); // the picture moves on under it
  page.markTimer = setTimeout(() => { mark.hidden = true; }, 3000);
  const number = page.header ? page.header.number : 0;
  const line = byId("pixel");
  try {
    const answer = await fetch(ofCamera(`api/pixel?x=${x.toFixed(5)}&y=${y.toFixed(5)}&number=${number}`));
    const pixel = await answer.json();
    if (!answer.ok) throw new Error(pixel.error);
    const parts = [`at ${pixel.x}, ${pixel.y}`];
    if (pixel.age_ms !== null) parts.push(pixel.still ? "nothing has moved since it was seen" : `seen ${ms(pixel.age_ms)} before this frame`);
    if (pixel.certainty !== null) parts.push(`${percent(pixel.certainty)} certain`);
    line.replaceChildren(element("b", pixel.class === null ? "no class" : pixel.class), ` ${parts.join(", ")}`);
    if (pixel.color) line.prepend(swatch(pixel.color));
  } catch (error) {
    line.textContent = error.message;
  }
}

byId("picture").addEventListener("click", (event) => {
  const box = event.currentTarget.getBoundingClientRect();
  const share = (at, from, size) => Math.min(1, Math.max(0, (at - from) / size));
  askPixel(share(event.clientX, box.left, box.width), share(event.clientY, box.top, box.height));
});
byId("picture").addEventListener("keydown", (event) => {
  if (event.key === "Enter") askPixel(0.5, 0.5);
});

function showVeil(title, text) {
  byId("stage").classList.toggle("old", title !== "");
  byId("veil").hidden = title === "";
  byId("veil-title").textContent = title;
  byId("veil-text").textContent = text;
}

// Anything that stops the states shows, too: an old picture must never look like a new one.
function watch() {
  const silentMs = performance.now() - page.stateAt;
  const health = page.state && page.state.health;
  if (!page.info) return;
  if (!page.socket || silentMs > SILENT_MS) {
    showVeil("No connection", page.stateAt ? `the server was heard last ${duration(silentMs / 1000)} ago` : "");
    badge("offline", "");
  } else if (!page.state) return;
  else if (page.state.phase === "reopening") showVeil("Reopening", health.reason);
  else if (health.state === "stale" || health.state === "failed") showVeil(health.state === "stale" ? "Stale" : "Failed", health.reason);
  else showVeil("", "");
  showFrame();
}

function badge(state, reason) {
  byId("health-state").textContent = state;
  byId("health-state").className = `badge ${state}`;
  byId("health-reason").textContent = reason;
}

// Figures.

function tiles(id, rows) {
  byId(id).replaceChildren(...rows.filter((row) => row).map(([name, value, bad]) => {
    const tile = element("div", "", bad ? { class: "bad" } : {});
    tile.append(element("dt", name), element("dd", String(value)));
    return tile;
  }));
}

function showState(state) {
  page.state = state;
  page.stateAt = performance.now();
  showCameraStates(state.cameras);
  const { health, latency, counts, machine, schedule } = state;
  badge(health.state, health.reason || `for ${duration(health.since_s)}`);
  if (latency) {
    const deadline = schedule.deadline_ms;
    byId("latency-of").textContent = `of the last ${latency.frames} frames`;
    byId("rate").textContent = latency.fps === null ? "" : `${latency.fps} frames/s, background ${percent(latency.background_share)} of the time`;
    tiles("latency", [
      ["median", ms(latency.p50), deadline && latency.p50 > deadline],
      ["p90", ms(latency.p90), deadline && latency.p90 > deadline],
      ["p99", ms(latency.p99), deadline && latency.p99 > deadline],
      ["worst", ms(latency.max), deadline && latency.max > deadline],
      deadline ? ["deadline", ms(deadline)] : null,
      deadline ? ["missed", latency.missed, latency.missed > 0] : null,
    ]);
  }
  tiles("counts", [
    ["captured", counts.captured], ["delivered", counts.delivered], ["dropped", counts.dropped],
    ["failed", counts.failed, counts.failed > 0], ["in flight", counts.in_flight],
    ["restarts", health.restarts, health.restarts > 0], ["reconnects", health.reconnects],
  ]);
  tiles("machine", [
    ["CPU share", percent(machine.cpu_share)],
    machine.hottest ? [machine.hottest[0], `${machine.hottest[1].toFixed(0)} °C`] : ["temperature", "not told"],
    machine.clock_mhz ? ["clock", clock(machine.clock_mhz)] : ["clock", "not told"],
    health.throttled.length ? ["slowed down", health.throttled.join(", "), true] : null,
  ]);
  if (!page.edited && document.activeElement.form !== byId("schedule")) showSchedule(schedule);
  drawLanes(state.timeline);
  watch();
}

const clock = ([low, high]) => (high - low < 50 ? `${Math.round(high)} MHz` : `${Math.round(low)}–${Math.round(high)} MHz`);

document.addEventListener("visibilitychange", sendView);
setInterval(watch, 500);
start();
