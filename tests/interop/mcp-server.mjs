// A real MCP server (official TypeScript SDK) on a free loopback port. It speaks both wires: the
// handshake of revisions up to 2025-11-25 and the stateless one of 2026-07-28.
//
// Prints one JSON line when it listens: {"url"}.
// Tools: `add` (a, b), `echo` (text), `count` (to: progress notifications, then the result),
// `seen_headers` (what reached this server: shows what the gateway replaced and stripped).

import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import * as z from 'zod';

const text = (value) => ({ content: [{ type: 'text', text: String(value) }] });

function build() {
  const server = new McpServer({ name: 'interop', version: '1.0.0' });
  server.registerTool(
    'add',
    { description: 'Adds two numbers', inputSchema: z.object({ a: z.number(), b: z.number() }) },
    ({ a, b }) => text(a + b),
  );
  server.registerTool(
    'echo',
    { description: 'Gives the text back', inputSchema: z.object({ text: z.string() }) },
    ({ text: said }) => text(said),
  );
  server.registerTool(
    'count',
    { description: 'Counts aloud', inputSchema: z.object({ to: z.number().int().max(1000) }) },
    async ({ to }, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      for (let progress = 1; progressToken !== undefined && progress <= to; progress += 1) {
        await mcpReq.notify({
          method: 'notifications/progress',
          params: { progressToken, progress, total: to },
        });
      }
      return text(to);
    },
  );
  server.registerTool(
    'seen_headers',
    { description: 'The request headers that reached this server', inputSchema: z.object({}) },
    (_args, { http }) => text(JSON.stringify(Object.fromEntries(http.req.headers))),
  );
  return server;
}

const handle = toNodeHandler(createMcpHandler(build, { onerror: (error) => console.error(error) }));
const server = createServer((request, response) => {
  if (new URL(request.url, 'http://upstream').pathname.startsWith('/mcp')) return handle(request, response);
  return response.writeHead(404).end();
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/mcp` })}\n`);
});
