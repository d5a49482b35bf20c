// Shows the OpenAPI document of the very instance that serves this page. Text is set as text, never as markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, { text, ...attributes } = {}, children = []) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function resolve(api, schema) {
  if (!schema || !schema.$ref) return schema;
  return schema.$ref.slice(2).split("/").reduce((place, key) => place[key], api);
}

// What a value looks like, in the form of JSON with types in the place of values.
function shape(api, given, indent = "", seen = []) {
  const schema = resolve(api, given);
  const name = given && given.$ref ? given.$ref.split("/").pop() : "";
  if (!schema || seen.includes(name)) return name || "any";
  const within = name ? [...seen, name] : seen;
  const parts = schema.oneOf || schema.anyOf;
  if (parts) return [...new Set(parts.map((part) => shape(api, part, indent, within)))].join(" | ");
  if (schema.allOf) {
    const whole = { type: "object", properties: {}, required: [] };
    for (const part of schema.allOf.map((part) => resolve(api, part))) {
      Object.assign(whole.properties, part.properties);
      whole.required.push(...(part.required || []));
    }
    return shape(api, whole, indent, within);
  }
  if (schema.enum) return schema.enum.map((word) => JSON.stringify(word)).join(" | ");
  const types = [].concat(schema.type || "any");
  const main = types.find((type) => type !== "null") || "null";
  const nullable = types.includes("null") && main !== "null" ? " | null" : "";
  if (main === "array") return `[${shape(api, schema.items, indent, within)}]${nullable}`;
  if (main === "object" && schema.properties) {
    const inner = `${indent}  `;
    const lines = Object.entries(schema.properties).map(([key, value]) => {
      const optional = (schema.required || []).includes(key) ? "" : "?";
      const about = value.description ? `  // ${value.description.replace(/\s+/g, " ")}` : "";
      return `${inner}${key}${optional}: ${shape(api, value, inner, within)}${about}`;
    });
    return `{\n${lines.join("\n")}\n${indent}}${nullable}`;
  }
  return (schema.format ? `${main} (${schema.format})` : main) + nullable;
}

// A body as it was once sent or answered.
function example({ example }) {
  if (example === undefined) return [];
  const text = typeof example === "string" ? example : JSON.stringify(example, null, 2);
  return [element("p", { class: "quiet", text: "For example" }), element("pre", { text })];
}

function call(api, path, method, operation) {
  const body = element("div");
  if (operation.description) body.append(element("p", { text: operation.description }));
  const parameters = (operation.parameters || []).map((parameter) => resolve(api, parameter));
  if (parameters.length) {
    const list = element("dl");
    for (const parameter of parameters) {
      const needed = parameter.required ? "" : ", optional";
      list.append(
        element("dt", {}, [element("code", { text: parameter.name })]),
        element("dd", { text: `${parameter.in}${needed}. ${parameter.description || ""}` }),
      );
    }
    body.append(element("h3", { text: "Parameters" }), list);
  }
  const content = operation.requestBody && Object.values(operation.requestBody.content)[0];
  if (content) {
    body.append(element("h3", { text: "Body" }), element("pre", { text: shape(api, content.schema) }), ...example(content));
  }
  body.append(element("h3", { text: "Answers" }));
  const answers = element("dl");
  for (const [status, response] of Object.entries(operation.responses)) {
    const answer = element("dd", { text: response.description });
    const kind = response.content && Object.keys(response.content)[0];
    if (kind) {
      const content = response.content[kind];
      if (kind !== "application/problem+json") answer.append(element("pre", { text: shape(api, content.schema) }));
      answer.append(...example(content));
    }
    answers.append(element("dt", {}, [element("code", { text: status })]), answer);
  }
  body.append(answers);
  const summary = element("summary", {}, [
    element("code", { class: "method", text: method.toUpperCase() }),
    element("code", { text: path.replace("/api/v1/admin", "") }),
    element("span", { class: "quiet", text: ` ${operation.summary || ""}` }),
  ]);
  return element("details", { id: operation.operationId }, [summary, body]);
}

function show(api) {
  const about = document.getElementById("about");
  about.replaceChildren(`${api.info.description} `, element("a", { href: "/api/v1/openapi.json", text: "openapi.json" }));
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((method) => item[method])) {
      const tag = (item[method].tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(call(api, path, method, item[method]));
    }
  }
  const tags = document.getElementById("tags");
  const calls = document.getElementById("calls");
  for (const [tag, members] of groups) {
    tags.append(element("a", { href: `#group-${tag}`, text: tag }));
    calls.append(element("section", { id: `group-${tag}` }, [element("h2", { text: tag }), ...members]));
  }
  const named = document.getElementById(location.hash.slice(1));
  if (named) {
    if (named.tagName === "DETAILS") named.open = true;
    named.scrollIntoView();
  }
}

function filter() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll("section")) {
    let any = false;
    for (const details of section.querySelectorAll("details")) {
      const text = details.textContent.toLowerCase();
      details.hidden = !words.every((word) => text.includes(word));
      any ||= !details.hidden;
    }
    section.hidden = !any;
  }
}

document.getElementById("filter").addEventListener("input", filter);
fetch("/api/v1/openapi.json")
  .then((response) => (response.ok ? response.json() : Promise.reject(new Error(`status ${response.status}`))))
  .then(show)
  .catch((error) => {
    document.getElementById("about").textContent = `The description could not be loaded: ${error.message}`;
  });
