/* Quiz: answers as buttons; a choice is judged at once, and another may follow. */

let quizzes = 0; // on this page: each needs ids of its own

/** One question of the quiz. */
function quizQuestion(model, { text, answers }, q, id) {
  const { group, buttons, said } = questionPart(id, `${q + 1}. ${text}`, answers, (i) => {
    remember(model, q, i);
    judge(i);
  });
  const judge = (i) => {
    const { right, why } = answers[i];
    colour(answers, model.get("chosen")[q], i, buttons);
    said.replaceChildren(reason(right ? "✓ Right." : "✗ Not this one.", why));
  };
  const tried = model.get("chosen")[q];
  if (tried.length) {
    judge(tried[tried.length - 1]);
  }
  return group;
}

/** Add an answer to those tried, once. The list is a new one: a changed old one tells nobody. */
function remember(model, q, i) {
  const chosen = model
    .get("chosen")
    .map((tried, n) => (n === q && !tried.includes(i) ? [...tried, i] : tried));
  model.set("chosen", chosen);
  model.save_changes();
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
  const parts = questions.map((question, q) => quizQuestion(model, question, q, `${id}-${q}`));
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
