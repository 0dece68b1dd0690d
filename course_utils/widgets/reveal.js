/* Reveal: one question before an experiment. The reader commits to an answer; then the result that
   the page keeps folded is opened. */

const FOLD = "details.hide:is(.below-input, .above-output)"; // as myst-nb folds a cell's output
let reveals = 0; // on this page: each needs an id of its own

/** The first folded output after a node, unless a heading comes first: that begins another topic. */
function foldAfter(place) {
  const next = [...document.querySelectorAll(`${FOLD}, h1, h2, h3, h4, h5, h6`)].find(
    (other) => place.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING,
  );
  return next?.matches(FOLD) ? next : undefined;
}

/** Open the fold. The page stays where it is, as the reasons are still to be read; a button leads
    on to the result. */
function opened(fold) {
  fold.open = true;
  const onclick = () => {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    fold.querySelector("summary").focus({ preventScroll: true });
    fold.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "center" });
  };
  return node("button", { type: "button", onclick }, "Go to the result ↓");
}

/** Say which answer is right, with the reasons of the chosen one and of the right one. */
function judgements(answers, i) {
  const best = answers.find(({ right }) => right);
  return answers[i].right
    ? [reason("✓ You predicted it.", best.why)]
    : [
        reason("✗ That isn't what happens.", answers[i].why),
        reason("✓ The right answer:", best.text),
        node("p", {}, ...written(best.why)),
      ];
}

function render({ model, el }) {
  const { text, answers } = model.get("question");
  const commit = (i) => {
    if (model.get("chosen") < 0) {
      model.set("chosen", i);
      model.save_changes();
      show();
    }
  };
  const id = `course-reveal-${++reveals}`;
  const { group, buttons, said } = questionPart(id, text, answers, commit);
  const show = () => {
    const i = model.get("chosen");
    colour(answers, [i, answers.findIndex(({ right }) => right)], i, buttons);
    for (const button of buttons) {
      button.setAttribute("aria-disabled", true); // not `disabled`, which would drop the focus
    }
    const fold = foldAfter(el);
    said.replaceChildren(...judgements(answers, i), ...(fold ? [opened(fold)] : []));
  };
  const name = "Your prediction";
  el.append(
    node(
      "div",
      { className: "course-quiz course-reveal", role: "group", "aria-label": name },
      node("p", { className: "course-reveal-name" }, `${name}: one choice, then the answer`),
      group,
    ),
  );
  if (model.get("chosen") >= 0) {
    show();
  }
}

export default { render };
