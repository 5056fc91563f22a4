// Runs the texts of Node-RED function nodes as Node-RED does: [{func, payload}] on stdin, [{payload, errors}] on stdout.
"use strict";
const jobs = JSON.parse(require("fs").readFileSync(0, "utf8"));
const done = jobs.map(({ func, payload }) => {
  const errors = [];
  const node = { error: text => errors.push(String(text)) };
  try {
    const msg = new Function("msg", "node", "Buffer", func)({ payload }, node, Buffer);
    return { payload: msg === undefined ? null : msg.payload, errors };
  } catch (error) {
    return { payload: null, errors: [String(error)] };
  }
});
process.stdout.write(JSON.stringify(done));
