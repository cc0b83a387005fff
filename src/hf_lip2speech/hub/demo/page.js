// Gradio says "Error: Video not playable" where the browser cannot show what was uploaded (MPEG-1, AVI, ...).
// Most of that can be read all the same: page.css says so in its place.
() => {
  const uploaded = (event) => event.target.closest?.("#video video") && document.getElementById("video");
  document.addEventListener("error", (event) => {
    const block = uploaded(event);
    if (block) {
      event.stopImmediatePropagation();
      block.classList.add("no-preview");
    }
  }, true);
  document.addEventListener("loadeddata", (event) => uploaded(event)?.classList.remove("no-preview"), true);
  // The examples are buttons without a text.
  document.querySelectorAll("#examples button").forEach((button, index) => {
    button.ariaLabel = `Rendered talker ${index + 1}`;
  });
}
