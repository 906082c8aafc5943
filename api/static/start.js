// Runs before the page is drawn, as a plain script: so that it is never drawn in the other colours, and that a page of
// which a part cannot be loaded is loaded once more, and then says so.
{
  const AGAIN_MS = 10_000;

  const recover = (event) => {
    const waiting = document.querySelector("main > .loading");
    if (event.target.tagName !== "SCRIPT" || !waiting) return;
    const isSecond = Date.now() - Number(sessionStorage.getItem("reloaded")) < AGAIN_MS;
    sessionStorage.setItem("reloaded", String(Date.now()));
    if (isSecond) waiting.textContent = "The page could not be loaded as a whole; load it again.";
    else location.reload();
  };
  addEventListener("error", recover, true);

  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem("theme");

  const apply = () => {
    const isDark = chosen() ? chosen() === "dark" : system.matches;
    root.dataset.theme = isDark ? "dark" : "light";
    document.querySelector("#theme")?.setAttribute("aria-pressed", String(isDark));
    document.dispatchEvent(new CustomEvent("theme"));
  };

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.querySelector("#theme").addEventListener("click", () => {
      localStorage.setItem("theme", root.dataset.theme === "dark" ? "light" : "dark");
      apply();
    });
  });
}
