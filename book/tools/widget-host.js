/* Runs the book's widgets in a static page: no kernel, no server, no request.

   Sphinx has written the state of every widget into the page, and a mark where each widget belongs.
   A widget is an anywidget: an ES module, given as text, that draws itself from its traits. This
   script gives it a model to read. It is a classic script and imports the modules from blobs,
   because browsers refuse modules on file://. Data that a widget loads later (`load`) comes as a classic
   script too, which leaves it in `courseData`. */
(() => {
  "use strict";
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';
  const models = new Map();
  const modules = new Map();
  const styles = new Set();
  const files = new Map();

  const decode = (base64) =>
    new DataView(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);

  /** Load a trait from a script beside the page; after a failure, the next call tries again. */
  function fetched({ key, src }) {
    if (!files.has(key)) {
      files.set(
        key,
        new Promise((resolve, reject) => {
          const script = Object.assign(document.createElement("script"), { src });
          const fail = () => {
            files.delete(key);
            script.remove();
            reject(new Error(`there is no answer from ${script.src}`));
          };
          script.onload = () => {
            key in (window.courseData ?? {}) ? resolve(decode(window.courseData[key])) : fail();
          };
          script.onerror = fail;
          document.head.append(script);
        }),
      );
    }
    return files.get(key);
  }

  /** The model that a widget reads and writes; without a kernel, it's the only state there is. */
  class Model {
    #state;
    #listeners = new Map();
    constructor({ state, buffers = [] }, sources) {
      this.#state = { ...state };
      for (const {
        path: [name],
        data,
      } of buffers) {
        this.#state[name] = decode(data);
      }
      for (const name of ["_esm", "_css"]) {
        if (name in state) {
          this.#state[name] = sources[state[name]];
        }
      }
    }
    get(name) {
      return this.#state[name];
    }
    load(name) {
      return fetched(this.#state[name]);
    }
    set(name, value) {
      if (this.#state[name] === value) {
        return;
      }
      this.#state[name] = value;
      for (const event of [`change:${name}`, "change"]) {
        for (const listen of this.#listeners.get(event) ?? []) {
          listen();
        }
      }
    }
    on(event, listen) {
      this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listen]);
    }
    off(event, listen) {
      this.#listeners.set(
        event,
        (this.#listeners.get(event) ?? []).filter((f) => listen && f !== listen),
      );
    }
    save_changes() {}
    send() {}
  }

  /** Let one trait follow another, as ipywidgets' jsdlink does. */
  function follow([leader, from], [follower, to]) {
    const tell = () => models.get(follower).set(to, models.get(leader).get(from));
    models.get(leader).on(`change:${from}`, tell);
    return tell;
  }

  function load(source) {
    if (!modules.has(source)) {
      modules.set(
        source,
        import(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))),
      );
    }
    return modules.get(source);
  }

  async function show(mark) {
    const place = document.createElement("div");
    const model = models.get(JSON.parse(mark.textContent).model_id);
    mark.before(place);
    if (!model?.get("_esm")) {
      const colab = document.querySelector('a[href*="colab.research.google.com"]');
      place.append("This control needs a running notebook. ");
      if (colab) {
        place.append(
          Object.assign(document.createElement("a"), {
            href: colab.href,
            textContent: "Open it in Colab.",
          }),
        );
      }
      return;
    }
    const style = model.get("_css");
    if (style && !styles.has(style)) {
      styles.add(style);
      document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
    }
    try {
      await (await load(model.get("_esm"))).default.render({ model, el: place });
    } catch (error) {
      console.error(error);
      place.textContent = `This widget could not start: ${error.message}`;
    }
  }

  async function start() {
    for (const script of document.querySelectorAll(STATE)) {
      const { state, sources, links } = JSON.parse(script.textContent);
      for (const [id, entry] of Object.entries(state)) {
        models.set(id, new Model(entry, sources));
      }
      for (const { source, target, both } of links) {
        if (!models.has(source[0]) || !models.has(target[0])) {
          continue; // a control that needs a kernel leads nowhere
        }
        follow(source, target)();
        if (both) {
          follow(target, source);
        }
      }
    }
    await Promise.all([...document.querySelectorAll(VIEW)].map(show));
    document.documentElement.dataset.widgets = "ready";
  }
  /* not DOMContentLoaded: it would wait for MathJax and every other deferred script */
  document.readyState === "loading"
    ? document.addEventListener("readystatechange", start, { once: true })
    : start();
})();
