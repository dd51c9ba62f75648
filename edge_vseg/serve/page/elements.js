"use strict";
// Parts that the other scripts make the page of.

const byId = (id) => document.getElementById(id);

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function swatch(color) {
  const made = element("span", "", { class: "swatch" });
  made.style.backgroundColor = Array.isArray(color) ? `rgb(${color.join(",")})` : color;
  return made;
}
