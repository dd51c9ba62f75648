"use strict";
// Which of several cameras the page shows. The address keeps it: #front is the camera of that name.

const cameras = { all: [], name: "" };

// The path of a request about the camera that is shown.
function ofCamera(path) {
  return `${path}${path.includes("?") ? "&" : "?"}camera=${encodeURIComponent(cameras.name)}`;
}

function wantedCamera() {
  const wanted = location.hash.slice(1);
  const found = cameras.all.find((camera) => encodeURIComponent(camera.name) === wanted) || cameras.all[0];
  return found.name;
}

function showCameras(all) {
  cameras.all = all;
  cameras.name = wantedCamera();
  byId("cameras").hidden = all.length < 2;
  byId("cameras").replaceChildren(...all.map((camera) => {
    const button = element("button", camera.name, { type: "button", role: "radio", "data-camera": camera.name, title: camera.source });
    button.prepend(element("span", "", { class: `dot ${camera.state}` }));
    button.addEventListener("click", () => { location.hash = encodeURIComponent(camera.name); });
    return button;
  }));
  markCamera();
}

function markCamera() {
  for (const button of byId("cameras").children) {
    button.setAttribute("aria-checked", String(button.dataset.camera === cameras.name));
  }
}

// The state of every camera comes with that of the one that is shown.
function showCameraStates(states) {
  for (const button of byId("cameras").children) {
    const state = states[button.dataset.camera];
    button.firstChild.className = `dot ${state}`;
    button.setAttribute("aria-label", `${button.dataset.camera}: ${state}`);
  }
}
