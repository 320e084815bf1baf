// The page: five rooms, one of which is open. The address says which, and all that its reader has set.

import { button, copied, element } from "./controls.js";
import { batchesRoom } from "./batches.js";
import { descent } from "./descent.js";
import { network } from "./network.js";
import { schedulesRoom } from "./schedules.js";
import { stability } from "./stability.js";

const rooms = [descent, stability, schedulesRoom, network, batchesRoom];
const built = new Map();
let open = null;
let own = null; // the address that this page wrote last

const host = document.getElementById("rooms");
const tabs = rooms.map((room) =>
  button(room.title, () => enter(room, ""), { id: `tab-${room.name}`, "aria-current": "false" }));
document.getElementById("tabs").append(...tabs);
const link = button("Copy link", async () => {
  const done = await copied(location.href.split("#")[0] + address());
  link.textContent = done ? "Copied" : "Copy the address";
  setTimeout(() => {
    link.textContent = "Copy link";
  }, 1500);
}, { class: "copy-link" });
document.getElementById("tabs").before(link);

function build(room) {
  if (!built.has(room)) {
    const root = element("section", { class: "room", id: `room-${room.name}`, "aria-labelledby": `title-${room.name}` });
    root.append(
      element("h1", { id: `title-${room.name}` }, room.question),
      element("p", { class: "lead" }, room.lead),
    );
    host.append(root);
    built.set(room, { root, ...room.build(root, changed) });
  }
  return built.get(room);
}

let timer = 0;

function address() {
  return `#${open.name}${built.get(open).write()}`;
}

function changed() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (location.hash !== own) return; // another address has come, and is about to be read
    own = address();
    history.replaceState(null, "", own);
  }, 120);
}

function enter(room, text) {
  clearTimeout(timer);
  const view = build(room);
  for (const [each, { root, show }] of built) {
    root.hidden = each !== room;
    if (each !== room) show?.(false);
  }
  const moved = open !== room;
  open = room;
  tabs.forEach((tab, i) => tab.setAttribute("aria-current", rooms[i] === room ? "page" : "false"));
  if (text !== null && (text !== "" || !moved)) view.read(text);
  view.show?.(true);
  document.title = `${room.title} – thalweg explorer`;
  own = address();
  history.replaceState(null, "", own);
}

function fromAddress() {
  if (location.hash === own) return;
  const [name, ...rest] = location.hash.slice(1).split("&");
  enter(rooms.find((room) => room.name === name) ?? descent, rest.join("&"));
}

addEventListener("hashchange", fromAddress);
fromAddress();
document.documentElement.dataset.ready = "true";
