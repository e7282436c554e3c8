// Looks again every few seconds and puts newer sections in the place of older ones. Without it the page is read by a reload.
"use strict";
(() => {
  const EVERY = 5000, clock = document.getElementById("clock"), main = document.getElementById("main");
  let timer = 0, heard = Date.now();

  // A section in which somebody is at work stays as it is: a reason half typed must not be lost.
  const inUse = (section) => section.querySelector("details[open]") !== null || (section.contains(document.activeElement) && document.activeElement.matches("input, select, textarea"));

  const keepFocus = (section, act) => {
    const places = [...section.querySelectorAll("a, button, summary")], at = places.indexOf(document.activeElement);
    act();
    if (at >= 0) {
      const now = [...document.getElementById(section.id).querySelectorAll("a, button, summary")];
      if (now[at]) now[at].focus({ preventScroll: true });
    }
  };

  const take = (text) => {
    const newer = new DOMParser().parseFromString(text, "text/html"), sections = newer.querySelectorAll("main section[id]");
    if (sections.length === 0) return false;
    for (const section of sections) {
      const here = document.getElementById(section.id);
      // The tokens of forms differ each time; what is shown may not.
      if (here && !inUse(here)) keepFocus(here, () => here.replaceWith(document.importNode(section, true)));
    }
    main.querySelectorAll(":scope > p.alert[role=alert]").forEach((old) => old.remove());
    newer.querySelectorAll("main > p.alert[role=alert]").forEach((one) => main.prepend(document.importNode(one, true)));
    return true;
  };

  const say = (words, old) => {
    if (clock.textContent !== words) clock.textContent = words;
    clock.classList.toggle("old", old);
  };

  const look = async () => {
    try {
      const answer = await fetch("/?live", { headers: { Accept: "text/html" }, redirect: "follow", signal: AbortSignal.timeout(EVERY * 2) });
      if (answer.redirected) return location.reload();
      if (!take(await answer.text())) throw new Error("no overview");
      heard = Date.now();
      say("live", false);
    } catch {
      say(`no answer for ${Math.round((Date.now() - heard) / 1000)} s`, true);
    }
    plan();
  };

  const plan = () => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(look, EVERY);
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
  say("live", false);
  plan();
})();
