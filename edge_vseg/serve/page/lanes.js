"use strict";
// Both lanes of the frame engine on a time axis that ends now.

const STEP_COLORS = ["#3d7edb", "#e08a2c", "#3c9d5f", "#b452a8", "#8a6d3b", "#2aa3a3", "#d0555f", "#7a7fd6"];
const MISSED = "#e0382e";
const stepColors = new Map();

function stepColor(step) {
  const name = step.replace(/ \d+$/, "");
  if (!stepColors.has(name)) {
    stepColors.set(name, STEP_COLORS[stepColors.size % STEP_COLORS.length]);
    byId("steps").replaceChildren(...[...stepColors].map(([known, color]) => {
      const item = element("li", "");
      item.append(swatch(color), known);
      return item;
    }));
  }
  return stepColors.get(name);
}

function drawLanes(timeline) {
  const canvas = byId("lanes");
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const text = style.getPropertyValue("--quiet"), line = style.getPropertyValue("--line");
  const top = { frame: 21, background: 76 }, tall = 26;
  pen.scale(scale, scale);
  pen.font = "12px system-ui, sans-serif";
  const x = (at) => width * (1 + at / timeline.span);
  for (let at = 0; at > -timeline.span; at -= 250) {
    pen.fillStyle = line;
    pen.fillRect(x(at), 0, 1, height - 18);
    pen.fillStyle = text;
    if (at % 500 === 0) pen.fillText(at === 0 ? "now" : `${at} ms`, at === 0 ? width - 26 : x(at) - 20, height - 5);
  }
  const bar = (from, to, y, color, size) => {
    pen.fillStyle = color;
    pen.fillRect(x(from), y, Math.max(1, x(to) - x(from)), size);
  };
  for (const frame of timeline.frames) {
    let at = frame.begin;
    for (const [step, took] of frame.steps) {
      bar(at, at + took, top.frame, stepColor(step), tall);
      at += took;
    }
    if (at < frame.end) bar(at, frame.end, top.frame, text, tall);
    if (frame.missed) bar(frame.due, frame.end, top.frame, MISSED, tall);
    if (frame.due !== null) bar(frame.due, frame.due, top.frame + tall + 1, frame.missed ? MISSED : text, 6);
  }
  for (const [step, from, to] of timeline.background) bar(from, to, top.background, stepColor(step), tall);
  pen.fillStyle = text;
  pen.fillText("frame lane, deadlines below, time over them red", 6, top.frame - 7);
  pen.fillText("background lane", 6, top.background - 7);
}
