// A dialog that asks before something is done. Escape closes it, and the focus goes back to where it came from: both
// by the browser's own <dialog>.

import { button, h, patch } from "./dom.js";

let opened = 0;

export class Dialog {
  constructor(title, asked) {
    opened += 1;
    const id = `dialog-${opened}`;
    this.isBusy = false;
    this.isFinished = false;
    this.body = h("div", { class: "dialog-body" });
    this.answer = h("div", { class: "answer", role: "status" });
    this.confirm = h("button", { type: "submit", class: asked.danger ? "confirm danger" : "confirm" }, asked.submit);
    this.dismiss = button("Cancel", () => this.close());
    const form = h(
      "form",
      {
        method: "dialog",
        onsubmit: (event) => {
          event.preventDefault();
          asked.onSubmit(this);
        },
      },
      h("h2", { id }, title),
      this.body,
      this.answer,
      h("div", { class: "choices" }, this.dismiss, this.confirm),
    );
    this.element = h("dialog", { "aria-labelledby": id }, form);
    const leave = () => this.close();
    addEventListener("hashchange", leave);
    this.element.addEventListener("close", () => {
      removeEventListener("hashchange", leave);
      this.element.remove();
      asked.onClosed?.();
    });
    document.body.append(this.element);
  }

  open() {
    this.element.showModal();
    return this;
  }

  close() {
    this.element.close();
  }

  get isOpen() {
    return this.element.open;
  }

  fill(...parts) {
    patch(this.body, ...parts);
  }

  say(kind, ...parts) {
    patch(this.answer, h("p", { class: kind }, ...parts));
  }

  /** While it is being done, nothing can be asked twice. */
  busy(is) {
    this.isBusy = is;
    this.confirm.disabled = is;
    this.element.setAttribute("aria-busy", String(is));
  }

  /** It is done: only closing is left. */
  finish() {
    this.isFinished = true;
    this.confirm.remove();
    this.dismiss.textContent = "Close";
    this.dismiss.focus();
  }
}

/** Something to know, with nothing to ask. */
export function tell(title, ...parts) {
  const dialog = new Dialog(title, { submit: "Close", onSubmit: () => dialog.close() });
  dialog.dismiss.remove();
  dialog.fill(...parts);
  dialog.open();
}
