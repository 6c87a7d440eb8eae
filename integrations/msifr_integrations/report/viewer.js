"use strict";
// Shows one of the attempts at a time. Their texts are a model's: they only ever become text nodes.
(() => {
  const attempts = JSON.parse(document.getElementById("attempts").textContent);
  const at = (id) => document.getElementById(id);
  const kinds = {
    lost: "lost (good ones discarded)", discarded: "discarded", unaccepted: "not accepted", kept: "kept (accepted)",
    failed: "never made",
  };
  let chosen = [];
  let place = 0;

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const words = new Map(attempts.map((one) => [
    one, [one.id, one.prompt, ...one.parts.map((part) => part.text)].join("\n").toLowerCase(),
  ]));

  function offer(select, name, label) {
    const counts = new Map();
    for (const one of attempts) counts.set(one[name], (counts.get(one[name]) || 0) + 1);
    for (const [value, n] of counts) {
      if (value === "") continue;
      const option = element("option", `${label(value)} (${n})`);
      option.value = value;
      select.append(option);
    }
    select.parentElement.hidden = select.options.length < 3 && name !== "kind";
  }

  function filter() {
    const wanted = { kind: at("by-kind").value, reason: at("by-reason").value, group: at("by-group").value };
    const searched = at("by-words").value.trim().toLowerCase();
    chosen = attempts.filter((one) =>
      Object.entries(wanted).every(([name, value]) => !value || one[name] === value) &&
      (!searched || words.get(one).includes(searched)));
    at("pick").replaceChildren(...chosen.map((one, i) => {
      const option = element("option", `${i + 1}. ${kinds[one.kind]}${one.reason ? `, ${one.reason}` : ""}: ${one.id}`);
      option.value = String(i);
      return option;
    }));
    show(0);
  }

  function body(parts) {
    const text = element("div", undefined, "text");
    for (const part of parts) {
      text.append(element(part.mark === "evidence" ? "mark" : "span", part.text, part.mark));
      if (part.note) text.append(element("span", `← ${part.note}`, "note"));
    }
    if (!text.textContent) text.append(element("span", "(no text)", "after"));
    return text;
  }

  function show(i) {
    place = i;
    const one = chosen[i];
    at("count").textContent = chosen.length ? `${i + 1} of ${chosen.length}` : "none fits";
    at("previous").disabled = !one || i === 0;
    at("next").disabled = !one || i === chosen.length - 1;
    at("pick").value = String(i);
    if (!one) {
      at("attempt").replaceChildren(element("p", "No attempt fits what was chosen."));
      return;
    }
    const facts = element("dl");
    if (one.group) facts.append(element("dt", "group"), element("dd", one.group));
    for (const [name, value] of one.facts) facts.append(element("dt", name), element("dd", value));
    const made = [element("h3", one.id), facts];
    if (one.prompt) made.push(element("h4", "Prompt"), element("div", one.prompt, "text"));
    made.push(element("h4", "Text"), body(one.parts));
    at("attempt").replaceChildren(...made);
  }

  const step = (by) => {
    if (chosen[place + by]) show(place + by);
  };

  offer(at("by-kind"), "kind", (kind) => kinds[kind]);
  offer(at("by-reason"), "reason", (reason) => reason);
  offer(at("by-group"), "group", (group) => group);
  for (const name of ["by-kind", "by-reason", "by-group"]) at(name).addEventListener("change", filter);
  at("by-words").addEventListener("input", filter);
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("pick").addEventListener("change", () => show(Number(at("pick").value)));
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  document.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const target = event.target;
    const elsewhere = target !== document.body && !at("viewer").contains(target);
    if (!by || elsewhere || event.altKey || event.ctrlKey || event.metaKey || target.matches("select, input")) return;
    event.preventDefault();
    step(by);
  });
  filter();
})();
