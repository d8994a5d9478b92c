// Draws what /_stats says: the difference of two answers, twice a second.
// The shape of an answer is described in stats.h of stage 14.
'use strict';

const EVERY_MS = 500;
const HISTORY = 120; // points of the curve: a minute
const PHASES = ['timers', 'pending', 'idle', 'prepare', 'wait', 'poll', 'check', 'close'];
const NAMES = {wait: 'asleep', poll: 'poll: clients', pending: 'pending: finished jobs'};
const STATES = ['idle', 'reading', 'waiting', 'writing', 'lingering'];
const RADIUS = 95;
const ROUND = 2 * Math.PI * RADIUS;

const at = id => document.getElementById(id);
const say = (id, text) => { at(id).textContent = text; };

function element(parent, name, className) {
  const svg = parent.namespaceURI === 'http://www.w3.org/2000/svg';
  const made = svg ? document.createElementNS(parent.namespaceURI, name) : document.createElement(name);
  if (className) made.setAttribute('class', className);
  parent.append(made);
  return made;
}

function short(n) {
  if (n >= 1e6) return (n / 1e6).toFixed(1) + ' M';
  if (n >= 1e4) return (n / 1e3).toFixed(0) + ' k';
  return String(Math.round(n));
}

function bytes(n) {
  const units = ['bytes', 'KiB', 'MiB', 'GiB'];
  let u = 0;
  while (n >= 1024 && u < units.length - 1) { n /= 1024; u++; }
  return (u === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + ' ' + units[u];
}

function duration(s) {
  if (s < 120) return Math.round(s) + ' s';
  if (s < 7200) return Math.round(s / 60) + ' min';
  return (s / 3600).toFixed(1) + ' h';
}

// --- what the page is made of, once

const arcs = {}, shares = {}, bars = {};
for (const phase of PHASES) {
  const arc = arcs[phase] = element(at('ring'), 'circle', 'phase ' + phase);
  arc.setAttribute('cx', 120);
  arc.setAttribute('cy', 120);
  arc.setAttribute('r', RADIUS);
  const row = element(at('phases').tBodies[0], 'tr');
  const name = element(row, 'th');
  element(name, 'i', 'phase ' + phase);
  name.append(NAMES[phase] || phase);
  shares[phase] = element(row, 'td');
}
for (const state of STATES) {
  element(at('connections'), 'dt').textContent = state;
  const dd = element(at('connections'), 'dd');
  bars[state] = {bar: element(dd, 'span', 'bar'), number: element(dd, 'b')};
}

// --- what changes

function drawPhases(now, before) {
  const spent = PHASES.map(p => now.phases[p] - before.phases[p]);
  const all = spent.reduce((a, b) => a + b, 0) || 1;
  let from = 0;
  PHASES.forEach((phase, i) => {
    const part = spent[i] / all;
    arcs[phase].setAttribute('stroke-dasharray', `${part * ROUND} ${ROUND}`);
    arcs[phase].setAttribute('stroke-dashoffset', -from * ROUND);
    from += part;
    shares[phase].textContent = (100 * part).toFixed(part && part < 0.001 ? 3 : 1) + ' %';
  });
}

const history = [];

function drawRate(rate) {
  history.push(rate);
  if (history.length > HISTORY) history.shift();
  const top = Math.max(...history, 10);
  const points = history.map((r, i) =>
    `${(300 * (HISTORY - history.length + i)) / (HISTORY - 1)},${78 - 75 * r / top}`);
  at('spark').setAttribute('d', 'M' + points.join('L'));
  say('rate', short(rate));
}

function drawWorkers(pool) {
  const box = at('workers');
  while (box.children.length < pool.threads) element(box, 'span');
  while (box.children.length > pool.threads) box.lastChild.remove();
  [...box.children].forEach((one, i) => one.classList.toggle('busy', i < pool.busy));
  say('busy', pool.busy);
  say('queued', pool.queued);
}

function drawConnections(c) {
  say('open', c.open);
  for (const state of STATES) {
    bars[state].bar.style.width = 70 * c[state] / Math.max(c.open, 1) + '%';
    bars[state].number.textContent = c[state];
  }
}

function drawCache(now, before) {
  const hits = now.hits - before.hits, misses = now.misses - before.misses;
  if (hits + misses > 0) say('hits', (100 * hits / (hits + misses)).toFixed(1));
  at('fill').style.width = 100 * now.bytes / Math.max(now.limit, 1) + '%';
  say('bytes', bytes(now.bytes));
  say('entries', now.entries);
  say('evictions', now.evictions);
}

function drawProcesses(stats) {
  const body = at('processes').tBodies[0];
  body.replaceChildren();
  for (const worker of stats.per_worker) {
    const row = element(body, 'tr');
    for (const value of [worker.pid, worker.open, short(worker.answered)])
      element(row, 'td').textContent = value;
  }
  say('uptime', duration(stats.seconds));
}

function draw(now, before, seconds) {
  const turns = now.loop.turns - before.loop.turns;
  const events = now.loop.events - before.loop.events;
  drawPhases(now, before);
  say('turns', short(turns / seconds));
  say('per-turn', (events / Math.max(turns, 1)).toFixed(1));
  drawRate(Math.max(0, now.requests.answered - before.requests.answered) / seconds);
  drawWorkers(now.pool);
  drawConnections(now.connections);
  drawCache(now.cache, before.cache);
  drawProcesses(now);
}

// --- asking

let before = null, askedAt = 0;

async function ask() {
  try {
    const answer = await fetch('_stats', {cache: 'no-store'});
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    const now = await answer.json();
    const time = performance.now();
    if (before && now.requests.answered >= before.requests.answered)
      draw(now, before, (time - askedAt) / 1000);
    before = now;
    askedAt = time;
    say('state', 'Live.');
    document.body.dataset.live = 'yes';
  } catch (error) {
    say('state', `No numbers: ${error.message}. Trying again …`);
    document.body.dataset.live = 'no';
    before = null;
  }
  setTimeout(ask, document.hidden ? 5000 : EVERY_MS);
}

ask();
