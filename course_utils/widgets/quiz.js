/* Quiz: answers as buttons; a choice is judged at once. It has its own few helpers instead of
   _shared.js, which would make every page with a quiz heavier. */

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

/** Show text between backticks as code. */
const written = (text) => text.split("`").map((part, i) => (i % 2 ? node("code", {}, part) : part));

let quizzes = 0;

function render({ model, el }) {
  const questions = model.get("questions");
  const id = `course-quiz-${++quizzes}`;
  const score = node("p", { className: "course-quiz-score", role: "status" });

  const parts = questions.map(({ text, answers }, q) => {
    const said = node("p", { className: "course-quiz-said", role: "status" });
    const choose = (i) => {
      model.set(
        "chosen",
        model
          .get("chosen")
          .map((tried, n) => (n === q && !tried.includes(i) ? [...tried, i] : tried)),
      );
      model.save_changes();
      judge(i);
    };
    const buttons = answers.map((answer, i) =>
      node("button", { type: "button", onclick: () => choose(i) }, ...written(answer.text)),
    );
    const judge = (i) => {
      const { right, why } = answers[i];
      for (const n of model.get("chosen")[q]) {
        buttons[n].className = answers[n].right ? "course-quiz-right" : "course-quiz-wrong";
      }
      buttons.forEach((button, n) => button.setAttribute("aria-pressed", n === i));
      said.replaceChildren(
        node("strong", {}, right ? "✓ Right. " : "✗ Not this one. "),
        ...written(why),
      );
    };
    const tried = model.get("chosen")[q];
    if (tried.length) {
      judge(tried[tried.length - 1]);
    }
    const heading = node(
      "p",
      { id: `${id}-${q}`, className: "course-quiz-question" },
      ...written(`${q + 1}. ${text}`),
    );
    return node(
      "div",
      { role: "group", "aria-labelledby": heading.id },
      heading,
      node("div", { className: "course-quiz-answers" }, ...buttons),
      said,
    );
  });

  const count = () => {
    const first = model
      .get("chosen")
      .filter(([i], q) => i !== undefined && questions[q].answers[i].right).length;
    const begun = model.get("chosen").filter((tried) => tried.length).length;
    score.textContent = begun
      ? `${begun} of ${questions.length} answered, ${first} right at the first try.`
      : `${questions.length} questions, none answered yet.`;
  };
  model.on("change:chosen", count);
  count();
  el.append(
    node("div", { className: "course-quiz", role: "group", "aria-label": "Quiz" }, ...parts, score),
  );
}

export default { render };
