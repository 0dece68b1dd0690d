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

let quizzes = 0; // on this page: each needs ids of its own

/** A question, its answers as buttons, and a place for the judgement. */
function questionPart(model, { text, answers }, q, id) {
  const said = node("p", { className: "course-quiz-said", role: "status" });
  const buttons = answers.map((answer, i) => {
    const onclick = () => {
      remember(model, q, i);
      judge(i);
    };
    return node("button", { type: "button", onclick }, ...written(answer.text));
  });
  const judge = (i) => showJudgement(answers, model.get("chosen")[q], i, buttons, said);
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
}

/** Add an answer to those tried, once. The list is a new one: a changed old one tells nobody. */
function remember(model, q, i) {
  const chosen = model
    .get("chosen")
    .map((tried, n) => (n === q && !tried.includes(i) ? [...tried, i] : tried));
  model.set("chosen", chosen);
  model.save_changes();
}

/** Colour all answers that were tried, and say why the last one is right or not. */
function showJudgement(answers, tried, last, buttons, said) {
  for (const n of tried) {
    buttons[n].className = answers[n].right ? "course-quiz-right" : "course-quiz-wrong";
  }
  buttons.forEach((button, n) => button.setAttribute("aria-pressed", n === last));
  const { right, why } = answers[last];
  said.replaceChildren(
    node("strong", {}, right ? "✓ Right. " : "✗ Not this one. "),
    ...written(why),
  );
}

/** How many questions were answered, and how many of them at the first try. */
function scoreText(chosen, questions) {
  const first = chosen.filter(([i], q) => i !== undefined && questions[q].answers[i].right).length;
  const begun = chosen.filter((tried) => tried.length).length;
  return begun
    ? `${begun} of ${questions.length} answered, ${first} right at the first try.`
    : `${questions.length} questions, none answered yet.`;
}

function render({ model, el }) {
  const questions = model.get("questions");
  const id = `course-quiz-${++quizzes}`;
  const parts = questions.map((question, q) => questionPart(model, question, q, id));
  const score = node("p", { className: "course-quiz-score", role: "status" });
  const count = () => {
    score.textContent = scoreText(model.get("chosen"), questions);
  };
  model.on("change:chosen", count);
  count();
  el.append(
    node("div", { className: "course-quiz", role: "group", "aria-label": "Quiz" }, ...parts, score),
  );
}

export default { render };
