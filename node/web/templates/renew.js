
"use strict";
// Renews the part of the page that is live, element by element: what did not change stays, with its focus and pictures.
(() => {
  const EVERY_MS = 5000;
  const live = document.getElementById("live");
  const pause = document.getElementById("pause");
  const lost = document.getElementById("lost");
  if (!live) return;

  let isPaused = false;
  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on renewing" : "Pause renewing";
  });

  const renewed = (old, fresh) => {
    if (old.isEqualNode(fresh)) return old;
    for (const name of old.getAttributeNames()) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const name of fresh.getAttributeNames()) old.setAttribute(name, fresh.getAttribute(name));
    if (!old.hasAttribute("data-parts")) {
      old.replaceChildren(...fresh.childNodes);
      return old;
    }
    const held = new Map([...old.children].map((child) => [child.id, child]));
    const parts = [...fresh.children].map((child) => (held.has(child.id) ? renewed(held.get(child.id), child) : child));
    const isSame = parts.length === old.children.length && parts.every((part, at) => part === old.children[at]);
    if (!isSame) old.replaceChildren(...parts);
    return old;
  };

  const renew = async () => {
    if (isPaused || document.hidden) return;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store" });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const part = fresh.getElementById("live");
      if (!answer.ok || !part) throw new Error(answer.status);
      const focused = document.activeElement?.id;
      renewed(live, part);
      document.title = fresh.title;
      if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus({ preventScroll: true });
      lost.hidden = true;
    } catch {
      lost.hidden = false;
    }
  };

  setInterval(renew, EVERY_MS);
})();
