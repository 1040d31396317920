"use strict";
(() => {
  // Texts of models go into the page as text, never as markup: `element` sets textContent alone.
  const page = (name) => document.getElementById(name);
  const element = (tag, kind, text) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  // A long name breaks after its slashes and underscores, and not inside a number.
  const named = (place, text) => {
    text.split(/(?<=[/_])/).forEach((part, index) => place.append(...(index ? [element("wbr")] : []), part));
    return place;
  };
  const words = (status) => status.replace("_", " ");
  const EVALUATION = "evaluation";
  const PAGE = 40;

  const theme = () => document.documentElement.dataset.theme
    || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const remember = (value) => { try { localStorage.setItem("trl_gift-theme", value); } catch { /* storage may be blocked */ } };
  const remembered = () => { try { return localStorage.getItem("trl_gift-theme"); } catch { return null; } };
  if (remembered()) document.documentElement.dataset.theme = remembered();
  page("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
    remember(theme());
  });

  const data = JSON.parse(page("data").textContent);
  const rows = (fields, table, evaluation) => table.map((row) => {
    const found = Object.fromEntries(fields.map((name, place) => [name, row[place]]));
    const program = found.program < 0 ? null : data.programs[found.program];
    return {
      ...found, evaluation, task: data.tasks[found.task], place: found.program, program,
      edits: found.edits < 0 ? null : data.edits[found.edits],
      description: evaluation ? "" : data.texts[found.description], message: data.texts[found.message],
      failingTest: evaluation ? data.texts[found.failingTest] : "",
    };
  });
  const order = (a, b) => (a.task < b.task ? -1 : a.task > b.task ? 1 : 0) || a.round - b.round
    || (a.step || 0) - (b.step || 0) || a.index - b.index;
  const samples = rows(data.fields, data.samples, false);
  const attempts = rows(data.attemptFields, data.attempts, true);
  for (const one of [...samples, ...attempts]) {
    one.text = [one.task, one.description, one.program || "", one.message].join("\n").toLowerCase();
  }
  const parentOf = (one) => (typeof one.parent === "number" ? samples[one.parent] : null);
  const listed = [...samples].sort(order);
  const measured = [...attempts].sort(order);

  // Filters ------------------------------------------------------------------------------------------------------
  const outcomes = new Set();
  let shown = PAGE, found = [], current = null;
  const option = (value, text) => { const made = element("option", "", text); made.value = value; return made; };
  page("round").append(option("", "all rounds"), ...data.rounds.map((number) => option(String(number), `round ${number}`)));
  if (measured.length) page("round").append(option(EVALUATION, "evaluations"));
  page("tasks").append(...[...new Set([...listed, ...measured].map((one) => one.task))].map((name) => option(name)));
  const present = [...new Set([...data.outcomes, ...measured.map((one) => one.status)])];
  for (const status of present) {
    const chip = element("button", "chip");
    chip.type = "button";
    chip.dataset.status = status;
    chip.append(element("i", `key key-${status}`), words(status), element("small"));
    chip.addEventListener("click", () => {
      if (!outcomes.delete(status)) outcomes.add(status);
      refresh();
    });
    page("outcomes").append(chip);
  }

  const matches = () => {
    const text = page("search").value.trim().toLowerCase(), round = page("round").value;
    const task = page("task").value.trim().toLowerCase(), trained = page("trained").checked;
    const source = round === EVALUATION ? measured : listed;
    const exact = source.some((one) => one.task.toLowerCase() === task);
    return source.filter((one) => (!text || one.text.includes(text))
      && (!task || (exact ? one.task.toLowerCase() === task : one.task.toLowerCase().includes(task)))
      && (!round || round === EVALUATION || one.round === Number(round))
      && (!trained || (one.draws || []).length));
  };

  function refresh() {
    const all = matches();
    found = outcomes.size ? all.filter((one) => outcomes.has(one.status)) : all;
    shown = PAGE;
    for (const chip of page("outcomes").children) {
      const count = all.filter((one) => one.status === chip.dataset.status).length;
      chip.setAttribute("aria-pressed", String(outcomes.has(chip.dataset.status)));
      chip.querySelector("small").textContent = count.toLocaleString("en");
    }
    const what = page("round").value === EVALUATION ? "evaluated program" : "sample";
    page("count").textContent = `${found.length.toLocaleString("en")} ${what}${found.length === 1 ? "" : "s"}`;
    list();
  }

  function list() {
    page("list").replaceChildren(...found.slice(0, shown).map(entry));
    page("more").hidden = found.length <= shown;
  }

  const times = (one) => (one.draws || []).reduce((sum, [, count]) => sum + count, 0);
  const where = (one) => (one.evaluation
    ? (one.round ? `after round ${one.round}` : "base model")
    : `round ${one.round} · step ${one.step} · #${one.index}`);
  const drawn = (one) => {
    const mark = element("span", "draws", `trained on ×${times(one)}`);
    mark.title = one.draws.map(([round, count]) => `round ${round}: drawn ${count} times`).join(", ");
    return mark;
  };

  function entry(one) {
    const button = element("button"), first = element("div", "first");
    button.type = "button";
    first.append(element("i", `key key-${one.status}`), named(element("span", "name"), one.task));
    if (times(one)) first.append(drawn(one));
    const facts = [where(one), words(one.status)];
    if (one.perplexity != null) facts.push(`perplexity\u00a0${one.perplexity}`);
    button.append(first, element("div", "second", facts.join(" · ")));
    const lines = (one.program || "").split("\n").map((line) => line.trim()).filter(Boolean);
    button.append(element("div", "snippet", (lines.length > 1 ? lines.slice(1) : lines).join(" ⏎ ")));
    if (one === current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => { open(one); list(); });
    const item = element("li");
    item.append(button);
    return item;
  }

  // A task's programs as a story -----------------------------------------------------------------------------------
  function open(one) {
    current = one;
    const story = page("story"), head = element("div", "storyhead"), close = element("button", "tool", "Close");
    close.type = "button";
    close.id = "close";
    close.addEventListener("click", () => { story.hidden = true; document.body.classList.remove("reading"); });
    head.append(element("h3", "", one.task), close);
    const tabs = element("div", "tabs");
    const kinds = [...new Set(listed.filter((other) => other.task === one.task).map((other) => other.round))]
      .map((round) => [`round ${round}`, listed.find((other) => other.task === one.task && other.round === round)]);
    const evaluated = measured.filter((other) => other.task === one.task);
    if (evaluated.length) kinds.push(["evaluations", evaluated[0]]);
    for (const [name, start] of kinds) {
      const tab = element("button", "chip", name);
      tab.type = "button";
      const same = start.evaluation === one.evaluation && (one.evaluation || start.round === one.round);
      tab.setAttribute("aria-pressed", String(same));
      tab.addEventListener("click", () => open(start));
      tabs.append(tab);
    }
    story.replaceChildren(head, tabs, ...(one.evaluation ? evaluations(evaluated, one) : steps(one)));
    story.hidden = false;
    story.scrollTop = 0;
    if (matchMedia("(max-width: 860px)").matches) {
      document.body.classList.add("reading");
      story.focus({ preventScroll: true });
    } else {
      const chosen = story.querySelector(".chosen");
      if (chosen) story.scrollTop = Math.max(0, chosen.offsetTop - story.offsetHeight / 3);
    }
  }

  const origin = (one) => {
    const source = parentOf(one);
    if (source) return `read from the program of step ${source.step}, #${source.index}${source.round === one.round ? "" : `, round ${source.round}`}`;
    if (one.parent === "reference") return "read from the task's reference";
    if (one.parent === "paraphrase") return "a paraphrase of the task's words";
    return one.parent ? "read from an earlier program" : "the task's own words";
  };

  function steps(one) {
    const chain = listed.filter((other) => other.task === one.task && other.round === one.round);
    return [...new Set(chain.map((other) => other.step))].map((step) => {
      const programs = chain.filter((other) => other.step === step), first = programs[0];
      const made = element("section", "step"), told = element("div", "told"), written = element("div", "written");
      told.append(element("h4", "", `Step ${step}: description`), element("div", "words", first.description));
      told.append(element("div", "arrow", origin(first)));
      if (first.hint) told.append(element("div", "arrow", `hint shown: ${words(first.hint)}`));
      written.append(element("h4", "", programs.length === 1 ? "Program" : `${programs.length} programs`));
      written.append(...programs.map((other) => card(other, other === one, parentOf(other), "the program that was read")));
      made.append(told, written);
      return made;
    });
  }

  function evaluations(programs, one) {
    const base = programs.find((other) => other.round === 0 && other.program !== null);
    const section = element("div", "written");
    section.append(...programs.map((other) => card(other, other === one, other === base ? null : base, "the base model's program", true)));
    return [section];
  }

  function card(one, chosen, source, what, opened) {
    const box = element("details", chosen ? "program chosen" : "program"), summary = element("summary");
    box.open = chosen || Boolean(opened) || one.continues === 1;
    const facts = element("div", "facts"), status = element("b");
    status.append(element("i", `key key-${one.status}`), words(one.status));
    facts.append(status, element("span", "", one.evaluation ? where(one) : `#${one.index}`));
    if (one.perplexity != null) facts.append(element("span", "", `perplexity ${one.perplexity}`));
    if (one.tokens) facts.append(element("span", "", `${one.tokens} tokens`));
    if (one.continues) facts.append(element("span", "", "the chain continues from here"));
    if (times(one)) facts.append(drawn(one));
    summary.append(facts);
    box.append(summary);
    if (one.program === null) {
      box.append(element("div", "message", "The records hold the verdict, not the program."));
      return box;
    }
    const code = element("pre");
    const plain = () => code.replaceChildren(...coloured(one.program, data.spans[one.place]));
    plain();
    box.append(code);
    const tools = element("div", "tools"), modes = [];
    // One view at a time: pressing a button releases the others.
    const mode = (text, textOn, show, hide) => {
      const button = element("button", "tool", text);
      button.type = "button";
      const press = (on) => {
        button.setAttribute("aria-pressed", String(on));
        button.textContent = on ? textOn : text;
        if (on) show(); else hide();
      };
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        for (const other of modes) if (other !== press) other(false);
        press(on);
      });
      button.setAttribute("aria-pressed", "false");
      modes.push(press);
      tools.append(button);
    };
    if (one.edits) {
      const steps = stepper(one.edits, code);
      steps.hidden = true;
      mode("Edit by edit", "Show the program", () => { steps.hidden = false; steps.show(); }, () => { steps.hidden = true; plain(); });
      box.append(steps);
    }
    if (source && source.program !== null && source.program !== one.program) {
      mode(`Compare with ${what}`, "Show the program", () => code.replaceChildren(...difference(source.program, one.program)), plain);
    }
    if (modes.length) box.append(tools);
    if (one.failingTest && !one.message.includes(one.failingTest)) {
      const test = element("div", "message");
      test.append(element("b", "", "First failing test"), one.failingTest);
      box.append(test);
    }
    if (one.message) {
      const message = element("div", "message");
      message.append(element("b", "", one.failedTest == null ? words(one.status) : `Test ${one.failedTest + 1}: ${words(one.status)}`), one.message);
      box.append(message);
    }
    return box;
  }

  // A program that grows: buttons and a slider choose the edit, the code shows the lines that come and go with it.
  function stepper(edits, code) {
    const bar = element("div", "stepper"), slider = element("input"), told = element("output");
    const button = (text, name, change) => {
      const made = element("button", "tool", text);
      made.type = "button";
      made.setAttribute("aria-label", name);
      made.addEventListener("click", () => { slider.value = String(Number(slider.value) + change); bar.show(); });
      return made;
    };
    const previous = button("‹", "Previous edit", -1), next = button("›", "Next edit", 1);
    slider.type = "range";
    slider.min = slider.value = "1";
    slider.max = String(edits.length);
    slider.setAttribute("aria-label", "Edit");
    slider.addEventListener("input", () => bar.show());
    told.setAttribute("aria-live", "polite");
    bar.show = () => {
      const number = Number(slider.value), rows = growth(edits, number);
      const count = (kind) => rows.filter(([found]) => found === kind).length;
      const parts = [`edit ${number} of ${edits.length}`];
      if (count("added")) parts.push(`+${count("added")}`);
      if (count("removed")) parts.push(`−${count("removed")}`);
      told.textContent = parts.join(" · ");
      slider.setAttribute("aria-valuetext", parts.join(", "));
      // Not `disabled`: the focus would leave a button when it is used up.
      previous.setAttribute("aria-disabled", String(number === 1));
      next.setAttribute("aria-disabled", String(number === edits.length));
      code.replaceChildren(...rows.map(([kind, text]) => row(kind, text)));
    };
    bar.append(previous, slider, next, told);
    return bar;
  }

  function growth(edits, number) {
    let rows = [];
    for (const hunks of edits.slice(0, number)) {
      let lines = rows.filter(([kind]) => kind !== "removed").map(([, text]) => text), read = 0;
      if (lines.length === 1 && !lines[0]) lines = [];
      rows = [];
      for (const [old, removed, added] of hunks) {
        while (read < old) rows.push(["", lines[read++]]);
        for (let gone = 0; gone < removed; gone++) rows.push(["removed", lines[read++]]);
        rows.push(...added.map((text) => ["added", text]));
      }
      while (read < lines.length) rows.push(["", lines[read++]]);
    }
    return rows;
  }

  function coloured(text, spans) {
    let place = 0;
    return [...spans.matchAll(/(\d+)([a-z])/g)].map(([, length, kind]) => {
      const part = text.slice(place, place + Number(length));
      place += Number(length);
      return kind === "p" ? document.createTextNode(part) : element("span", kind, part);
    });
  }

  const MARKS = { "": " ", added: "+", removed: "−" };
  const row = (kind, text) => element("span", `row ${kind}`, `${MARKS[kind]} ${text}`);

  function difference(before, after) {
    const a = before.split("\n"), b = after.split("\n");
    const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
      }
    }
    const made = [];
    const line = (kind, text) => made.push(row(kind, text));
    let i = 0, j = 0;
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { line("", a[i]); i++; j++; }
      else if (j >= b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) line("removed", a[i++]);
      else line("added", b[j++]);
    }
    return made;
  }

  for (const name of ["search", "task"]) page(name).addEventListener("input", refresh);
  for (const name of ["round", "trained"]) page(name).addEventListener("change", refresh);
  page("filters").addEventListener("submit", (event) => event.preventDefault());
  page("more").addEventListener("click", () => { shown += PAGE; list(); });
  for (const button of document.querySelectorAll("button[data-task]")) {
    button.addEventListener("click", () => {
      page("search").value = "";
      page("trained").checked = false;
      outcomes.clear();
      page("round").value = EVALUATION;
      page("task").value = button.dataset.task;
      refresh();
      if (found.length) { open(found[found.length - 1]); list(); }
      page("browser").scrollIntoView();
    });
  }
  page("filters").hidden = false;
  refresh();
  if (found.length && !matchMedia("(max-width: 860px)").matches) {
    open(found.find((one) => one.continues && one.step > 0) || found[0]);
    list();
  }
})();
