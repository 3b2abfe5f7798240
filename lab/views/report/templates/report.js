"use strict";
// Where a link leads is opened, in browsers that do not do so by themselves.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  let closed = target && target.closest("details:not([open])");
  if (!closed) return;
  for (; closed; closed = target.closest("details:not([open])")) closed.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();
// On paper nothing can be opened. What only the ladder refers to stays closed there: it is much.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open], .aside)")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
});
