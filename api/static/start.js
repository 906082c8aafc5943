// Runs before the page is drawn, as a plain script: so that it is never drawn in the other colours, and that a page of
// which a part cannot be loaded says so.
{
  const tell = (event) => {
    if (event.target.tagName !== "SCRIPT" && event.target.tagName !== "LINK") return;
    document.querySelector("main > .loading")?.replaceChildren("The page could not be loaded as a whole; load it again.");
  };
  addEventListener("error", tell, true);

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
