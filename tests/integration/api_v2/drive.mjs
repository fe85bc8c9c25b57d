// Drives the official npm SDK, whose module is argv[2], with what comes on stdin; prints what it saw as JSON.
import { pathToFileURL } from "node:url";

const { Comfy } = await import(pathToFileURL(process.argv[2]).href);
const given = JSON.parse(await new Response(process.stdin).text());
const client = new Comfy();

const submit = (graph, options) => client.submit(client.workflows.fromJson(graph), options);
const withAsset = (graph, asset) => ({ ...graph, 1: { ...graph[1], inputs: { image: asset } } });
const bytes = (text) => Uint8Array.from(Buffer.from(text, "base64"));

async function refused(act) {
  try {
    await act();
    return null;
  } catch (error) {
    return error.constructor.name;
  }
}

const scenarios = {
  async run() {
    const job = await client.run(client.workflows.fromJson(given.picture));
    const [output] = job.outputs;
    const content = await output.toBytes();
    const again = await client.jobs.get(job.id);
    return {
      status: again.status,
      node: output.nodeId,
      type: output.type,
      said: output.sizeBytes,
      size: content.length,
      start: Buffer.from(content.slice(1, 4)).toString(),
      format: (await again.getWorkflow()).format,
    };
  },
  async events() {
    const job = await submit(given.early_and_late);
    const seen = [];
    for await (const event of job.events()) {
      if (event.kind === "statusChange") seen.push(event.status);
      else if (event.kind === "outputReady") seen.push(`output ${event.output.nodeId}`);
      else if (event.kind === "progress" && seen.at(-1) !== "progress") seen.push("progress");
    }
    await job.wait();
    return { status: job.status, seen };
  },
  async assets() {
    const asset = client.assets.fromBytes(bytes(given.png), { filename: "in.png", contentType: "image/png" });
    const job = await (await submit(withAsset(given.loaded, asset))).result();
    const twin = client.assets.fromBytes(bytes(given.png), { filename: "twin.png" });
    const same = (await twin.commit()) === (await asset.commit());
    const { id } = await client.assets.get(await asset.commit());
    await client.assets.delete(id);
    return { status: job.status, same, gone: await refused(() => client.assets.get(id)) };
  },
  async cancel() {
    const job = await submit(given.endless);
    while ((await job.refresh()).status === "queued");
    await job.cancel();
    await job.wait();
    return { status: job.status, result: await refused(() => job.result()) };
  },
  async refusals() {
    const reference = { __type: "core/ASSET", info: { id: crypto.randomUUID() } };
    const key = crypto.randomUUID();
    await submit(given.another, { idempotencyKey: key });
    return {
      graph: await refused(() => submit({ 1: { class_type: "NoSuchNode", inputs: {} } })),
      asset: await refused(() => submit(withAsset(given.loaded, reference))),
      job: await refused(() => client.jobs.get(crypto.randomUUID())),
      key: await refused(() => submit(given.another, { idempotencyKey: key })),
    };
  },
};

const report = {};
for (const [name, scenario] of Object.entries(scenarios)) report[name] = await scenario();
console.log(JSON.stringify(report));
