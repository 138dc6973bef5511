// Shows /openapi.json: every operation with its parameters, bodies and answers, and a form that tries it.
const element = (tag, attributes = {}, ...children) => {
  const e = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in e) e[key] = value; else e.setAttribute(key, value);
  }
  e.append(...children);
  return e;
};

const resolve = (doc, schema) => {
  if (!schema || !schema.$ref) return schema || {};
  return schema.$ref.slice(2).split('/').reduce((at, key) => at[key], doc);
};

const typeName = (doc, schema) => {
  const s = resolve(doc, schema);
  if (s.oneOf) return s.oneOf.map((o) => typeName(doc, o)).join(' or ');
  const type = Array.isArray(s.type) ? s.type.join(' | ') : s.type || 'any';
  if (type.includes('array')) return `array of ${typeName(doc, s.items)}`;
  return s.enum ? s.enum.join(' | ') : type;
};

const fields = (doc, schema) => {
  let s = resolve(doc, schema);
  if (s.oneOf) s = resolve(doc, s.oneOf[0]);
  if (!s.properties) return element('p', {}, typeName(doc, s));
  const body = element('tbody');
  for (const [name, property] of Object.entries(s.properties)) {
    const needed = (s.required || []).includes(name);
    body.append(element('tr', {},
      element('td', {}, element('code', {}, name), needed ? ' *' : ''),
      element('td', {}, typeName(doc, property)),
      element('td', {}, property.description || resolve(doc, property).description || '')));
  }
  return element('table', {}, body);
};

const tryForm = (doc, method, path, operation) => {
  const inputs = {};
  const rows = element('tbody');
  for (const p of operation.parameters || []) {
    const input = element('input', { value: p.in === 'path' ? String(p.example ?? '') : '', 'aria-label': p.name });
    inputs[p.name] = { in: p.in, input };
    rows.append(element('tr', {},
      element('td', {}, element('code', {}, p.name), p.required ? ' *' : ''),
      element('td', {}, input),
      element('td', {}, p.description || '')));
  }
  const box = operation.requestBody ? element('textarea', { rows: 4, value: '{}', 'aria-label': 'Body' }) : null;
  const answer = element('pre', { hidden: true });
  const send = async () => {
    const query = new URLSearchParams();
    let url = path;
    for (const [name, p] of Object.entries(inputs)) {
      const value = p.input.value;
      if (p.in === 'path') url = url.replace(`{${name}}`, encodeURIComponent(value));
      else if (p.in === 'query' && value !== '') query.append(name, value);
    }
    if (query.size > 0) url += `?${query}`;
    const options = { method, headers: {} };
    for (const [name, p] of Object.entries(inputs)) {
      if (p.in === 'header' && p.input.value !== '') options.headers[name] = p.input.value;
    }
    const credential = document.getElementById('credential').value; // kept in the page alone, and gone with it
    if (credential) options.headers.Authorization = `Bearer ${credential}`;
    if (box) {
      options.body = box.value;
      options.headers['Content-Type'] = 'application/json';
    }
    answer.hidden = false;
    try {
      const response = await fetch(url, options);
      const text = await response.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
      answer.textContent = `${response.status} ${response.statusText}\n\n${shown}`;
    } catch (error) {
      answer.textContent = String(error);
    }
  };
  const form = element('div');
  if (rows.children.length > 0) form.append(element('table', {}, rows));
  if (box) form.append(element('h4', {}, 'Body'), box);
  form.append(element('p', {}, element('button', { type: 'button', onclick: send }, 'Try it')), answer);
  return form;
};

const show = (doc, method, path, operation) => {
  const details = element('details', { id: operation.operationId },
    element('summary', {},
      element('span', { className: `method ${method}` }, method), element('code', {}, path), ` — ${operation.summary || ''}`));
  details.addEventListener('toggle', () => {
    if (!details.open || details.dataset.filled) return;
    details.dataset.filled = 'yes';
    if (operation.description) details.append(element('p', {}, operation.description));
    details.append(tryForm(doc, method, path, operation));
    const content = Object.values(operation.requestBody?.content || {})[0];
    if (content?.schema) details.append(element('h4', {}, 'Body fields'), fields(doc, content.schema));
    for (const [status, response] of Object.entries(operation.responses || {})) {
      details.append(element('h4', {}, `${status} ${response.description || ''}`));
      const media = Object.values(response.content || {})[0];
      if (media?.schema) details.append(fields(doc, media.schema));
    }
  });
  return details;
};

const main = async () => {
  const description = document.getElementById('description');
  const operations = document.getElementById('operations');
  const response = await fetch('/openapi.json');
  const doc = await response.json();
  description.textContent = doc.info.description;
  for (const tag of doc.tags || []) {
    const section = element('section', {}, element('h2', {}, tag.name), element('p', {}, tag.description || ''));
    for (const [path, item] of Object.entries(doc.paths)) {
      for (const [method, operation] of Object.entries(item)) {
        if ((operation.tags || []).includes(tag.name)) section.append(show(doc, method.toUpperCase(), path, operation));
      }
    }
    operations.append(section);
  }
  document.getElementById('filter').addEventListener('input', (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const d of operations.querySelectorAll('details')) {
      d.hidden = !d.querySelector('summary').textContent.toLowerCase().includes(wanted);
    }
  });
};

main().catch((error) => { document.getElementById('description').textContent = `The document cannot be shown: ${error}`; });
