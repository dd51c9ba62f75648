"use strict";
// The form for the schedule: a policy and its parameters, as the server describes them.

function showSchedule(schedule) {
  byId("policy").value = schedule.policy;
  showParameters(schedule.policy, schedule.parameters);
}

function showParameters(name, values) {
  const policy = page.info.policies.find((each) => each.name === name);
  const box = byId("parameters");
  if (!policy) { box.replaceChildren(); return; }
  if (box.dataset.policy === name && !page.edited) {
    for (const input of box.querySelectorAll("input")) input.value = values[input.name] ?? "";
    return;
  }
  box.dataset.policy = name;
  box.replaceChildren(...policy.parameters.map((parameter) => {
    const label = element("label", parameter.name.replaceAll("_", " "));
    const input = element("input", "", { name: parameter.name, "data-type": parameter.type });
    if (parameter.type !== "str") { input.type = "number"; input.step = "any"; input.inputMode = "decimal"; }
    input.required = parameter.default === null && !parameter.optional;
    if (parameter.optional) input.placeholder = "by itself";
    input.value = values[parameter.name] ?? parameter.default ?? "";
    label.append(input);
    return label;
  }));
}

byId("policy").addEventListener("change", (event) => {
  const schedule = page.state ? page.state.schedule : { policy: "", parameters: {} };
  page.edited = true;
  showParameters(event.target.value, event.target.value === schedule.policy ? schedule.parameters : {});
});
byId("parameters").addEventListener("input", () => { page.edited = true; });
byId("schedule").addEventListener("submit", async (event) => {
  event.preventDefault();
  const parameters = {};
  for (const input of byId("parameters").querySelectorAll("input")) {
    if (input.value !== "" || input.dataset.type === "str") {
      parameters[input.name] = input.dataset.type === "str" ? input.value : Number(input.value);
    }
  }
  const line = byId("applied");
  line.className = "";
  line.textContent = "opening…";
  byId("apply").disabled = true;
  try {
    const answer = await fetch(ofCamera("api/schedule"), {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ policy: byId("policy").value, parameters }),
    });
    const outcome = await answer.json();
    if (!answer.ok) throw new Error(outcome.error);
    line.textContent = `runs ${outcome.policy}`;
    page.edited = false;
  } catch (error) {
    line.className = "bad";
    line.textContent = error.message;
  }
  byId("apply").disabled = false;
});
