// What helps where script runs. Every page does its work without.
"use strict";

// What is wrong is read out first.
document.querySelector("[data-focus]")?.focus();

// "Done" is said once, not again when the page is loaded again.
if (location.search.includes("done=")) {
  const url = new URL(location.href);
  url.searchParams.delete("done");
  history.replaceState(null, "", url);
}

// Copying: a field's value, the codes of a list one a line, or a text.
for (const button of document.querySelectorAll("[data-copy]")) {
  const from = document.getElementById(button.dataset.copy);
  if (!from || !navigator.clipboard) continue;
  button.hidden = false;
  const words = button.textContent;
  button.addEventListener("click", async () => {
    const items = [...from.querySelectorAll("li")].map((item) => item.textContent.trim().replace("-", ""));
    await navigator.clipboard.writeText(items.length ? items.join("\n") : from.value ?? from.textContent);
    button.textContent = button.dataset.copied;
    setTimeout(() => (button.textContent = words), 2000);
  });
}

// The strength of a new password, as the server will judge it.
for (const meter of document.querySelectorAll("[data-meter]")) {
  const field = document.getElementById(meter.dataset.meter);
  const csrf = field.form.elements.csrf?.value ?? "";
  let timer, asked = 0;
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const number = ++asked;
      meter.hidden = !field.value;
      if (!field.value) return;
      const body = new URLSearchParams({ csrf, measure: field.value });
      const answer = await fetch(meter.dataset.ask, { method: "POST", body }).catch(() => null);
      if (!answer?.ok || number !== asked) return;
      const { score, text } = await answer.json();
      meter.dataset.score = score;
      meter.textContent = text;
    }, 250);
  });
}

// Passkeys: the question comes from the server, the answer goes by the form. Bytes are base64 on the way.
const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
const base64 = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
for (const form of document.querySelectorAll("[data-passkey]")) {
  const say = (what) => form.querySelectorAll("[data-say]").forEach((words) => (words.hidden = words.dataset.say !== what));
  if (!window.AuthenticatorAttestationResponse?.prototype.getAuthenticatorData) {
    say("unable");
    continue;
  }
  form.querySelector("[data-able]").hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say("");
    try {
      const body = new URLSearchParams({ csrf: form.elements.csrf.value });
      const asked = await fetch(form.dataset.ask, { method: "POST", body });
      // The page says why: a session that is over leads to where one signs in.
      if (!asked.ok || asked.redirected) return location.reload();
      const publicKey = await asked.json();
      publicKey.challenge = bytes(publicKey.challenge);
      for (const known of publicKey.excludeCredentials ?? publicKey.allowCredentials) known.id = bytes(known.id);
      if (publicKey.user) publicKey.user.id = bytes(publicKey.user.id);
      const by = navigator.credentials;
      const { rawId, response } = await (publicKey.user ? by.create({ publicKey }) : by.get({ publicKey }));
      form.elements.credential.value = base64(rawId);
      form.elements.client.value = base64(response.clientDataJSON);
      form.elements.authenticator.value = base64(response.authenticatorData ?? response.getAuthenticatorData());
      form.elements.signature.value = response.signature ? base64(response.signature) : "";
      form.elements.transports.value = response.getTransports?.().join() ?? "";
      form.submit();
    } catch (error) {
      say(error.name === "InvalidStateError" ? "known" : "failed");
    }
  });
}

function searchField(label, before) {
  const id = "search-" + document.querySelectorAll("input[type=search]").length;
  const caption = Object.assign(document.createElement("label"), { textContent: label, htmlFor: id });
  const input = Object.assign(document.createElement("input"), { type: "search", id, autocomplete: "off" });
  // Enter here would send the form.
  input.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  before.before(caption, input);
  return input;
}

// Long lists: only what is looked for.
for (const list of document.querySelectorAll("[data-filter]")) {
  const rows = [...list.children];
  if (rows.length < 8) continue;
  const input = searchField(list.dataset.filter, list);
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}

// Trees of scopes: counts that follow, all or none of a branch, search.
for (const tree of document.querySelectorAll("[data-tree]")) {
  const branches = [...tree.querySelectorAll("details")];
  const boxes = (within) => [...within.querySelectorAll("input[type=checkbox]")];
  const shown = (box) => !box.closest("li[hidden]");
  const count = () => {
    for (const branch of branches) {
      const all = boxes(branch);
      branch.querySelector("summary i").textContent = all.filter((box) => box.checked).length + "/" + all.length;
    }
  };
  tree.addEventListener("change", count);
  for (const branch of branches) {
    const name = branch.querySelector("summary").firstChild.textContent.trim();
    const set = (words, checked, old) => {
      const button = old ?? document.createElement("button");
      Object.assign(button, { type: "button", className: "small", textContent: words });
      button.setAttribute("aria-label", words + ": " + name);
      button.addEventListener("click", () => {
        boxes(branch).filter(shown).forEach((box) => (box.checked = checked));
        count();
      });
      return button;
    };
    const list = branch.querySelector(":scope > ul");
    list.before(set(tree.dataset.select, true, branch.querySelector(":scope > button")), set(tree.dataset.clear, false));
  }
  const leaves = boxes(tree).map((box) => {
    const path = [];
    for (let at = box.closest("details"); at; at = at.parentElement.closest("details")) {
      path.unshift(at.querySelector("summary").firstChild.textContent.trim());
    }
    path.push(box.parentElement.textContent.trim());
    return { item: box.closest("li"), text: path.join(":").toLowerCase() };
  });
  if (leaves.length < 12) continue;
  const input = searchField(tree.dataset.search, tree);
  let timer;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const { item, text } of leaves) item.hidden = !wanted.every((word) => text.includes(word));
      for (const branch of [...branches].reverse()) {
        const any = branch.querySelector(":scope > ul > li:not([hidden])");
        branch.parentElement.hidden = !any;
        branch.open = Boolean(any) && wanted.length > 0;
      }
    }, 120);
  });
}
