/* Questions with answers as buttons: what Quiz and Reveal share. It has its own few helpers instead
   of _shared.js, which would make every page with a quiz heavier. */

const node = (tag, properties = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) {
      made[name] = value;
    } else {
      made.setAttribute(name, value);
    }
  }
  made.append(...children);
  return made;
};

/** Show text between backticks as code, and text between dollar signs as a formula. */
const written = (text) =>
  text.split(/(`[^`]*`|\$[^$]*\$)/).flatMap((part, i) => {
    const inner = part.slice(1, -1);
    return i % 2 === 0 ? [part] : part[0] === "`" ? [node("code", {}, inner)] : formula(inner);
  });

/** `_` lowers the next character or {group} and `^` raises it; single letters are italic. */
const formula = (text) =>
  text.split(/([_^](?:\{[^}]*\}|.))/).flatMap((part, i) => {
    if (i % 2) {
      const moved = formula(part.slice(1).replace(/[{}]/g, ""));
      return [node(part[0] === "_" ? "sub" : "sup", {}, ...moved)];
    }
    return part.split(/(\p{L}+)/u).map((run) => (/^\p{L}$/u.test(run) ? node("i", {}, run) : run));
  });

/** A question, its answers as buttons, and a place for what is said about the choice. */
function questionPart(id, text, answers, choose) {
  const said = node("div", { className: "course-quiz-said", role: "status" });
  const buttons = answers.map((answer, i) =>
    node("button", { type: "button", onclick: () => choose(i) }, ...written(answer.text)),
  );
  const heading = node("p", { id, className: "course-quiz-question" }, ...written(text));
  const group = node(
    "div",
    { role: "group", "aria-labelledby": id },
    heading,
    node("div", { className: "course-quiz-answers" }, ...buttons),
    said,
  );
  return { group, buttons, said };
}

/** Colour the chosen answers, and mark the last one as pressed. */
function colour(answers, chosen, last, buttons) {
  for (const n of chosen) {
    buttons[n].className = answers[n].right ? "course-quiz-right" : "course-quiz-wrong";
  }
  buttons.forEach((button, n) => button.setAttribute("aria-pressed", n === last));
}

/** A judgement in bold, and the reason for it. */
const reason = (judgement, why) =>
  node("p", {}, node("strong", {}, ...written(judgement)), " ", ...written(why));

export { colour, questionPart, reason };
