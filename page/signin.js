// Signing in, with a user and a password or with a token; and what is needed where that is not possible.

import { Trouble, basic, bearer, me, signIn } from "./api.js";
import { Dialog } from "./dialog.js";
import { h } from "./dom.js";
import { begin, present } from "./present.js";
import { say } from "./say.js";

const field = (name, label, more) =>
  h(
    "p",
    { class: "field", "data-for": more["data-for"] },
    h("label", { for: name }, label),
    h("input", { id: name, name, required: true, ...more }),
  );

/** Asks who one is; `true` once it is known. */
export function askWho(why) {
  return new Promise((done) => {
    let isKnown = false;
    const dialog = new Dialog("Sign in", { submit: "Sign in", onSubmit: submit, onClosed: () => done(isKnown) });
    const user = field("user", "User", { autocomplete: "username", autocapitalize: "off", spellcheck: "false" });
    const password = field("password", "Password", { type: "password", autocomplete: "current-password" });
    const token = field("token", "Token", { type: "password", autocomplete: "off" });
    const kind = h(
      "select",
      { id: "kind", onchange: choose },
      h("option", { value: "basic" }, "User and password"),
      h("option", { value: "bearer" }, "Token"),
    );
    choose();
    dialog.fill(
      h("p", null, why),
      h("p", { class: "field" }, h("label", { for: "kind" }, "With"), kind),
      user,
      password,
      token,
    );
    dialog.open();
    user.querySelector("input").focus();

    function choose() {
      const isToken = kind.value === "bearer";
      for (const [element, isShown] of [
        [user, !isToken],
        [password, !isToken],
        [token, isToken],
      ]) {
        element.hidden = !isShown;
        element.querySelector("input").disabled = !isShown;
      }
    }

    async function submit() {
      const value = (element) => element.querySelector("input").value;
      dialog.busy(true);
      try {
        await signIn(kind.value === "bearer" ? bearer(value(token)) : basic(value(user), value(password)));
        isKnown = true;
        // What could not be read before can be read now.
        if (present.connection !== "live") begin();
        say(`signed in as ${me.name}, ${me.role}`);
        dialog.close();
      } catch (error) {
        dialog.busy(false);
        const isWrong = error instanceof Trouble && error.status === 401;
        dialog.say("trouble", isWrong ? "This is not known here: look at what was typed." : error.words);
      }
    }
  });
}
