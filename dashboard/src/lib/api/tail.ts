/** `logs/tail`: an app's executions as they are kept, by server-sent events. */
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { api } from './client';
import { ApiProblem } from './problem';
import type { ExecutionView } from './schema';

/** An execution, or how many came too fast to be told of. */
export type Seen = { execution: ExecutionView } | { missed: number };

/** Watches an app. The promise is of the stream's beginning; the stream ends when the server ends it. */
export async function watch(app: string, signal: AbortSignal): Promise<AsyncIterable<Seen>> {
  const { data, error, response } = await api.GET('/apps/{app}/logs/tail', {
    params: { path: { app } },
    parseAs: 'stream',
    signal,
  });
  if (!response.ok || !data) throw ApiProblem.of(response.status, error);
  // The DOM's types know nothing yet of a decoder that takes any array of bytes.
  const decoder = new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>;
  return seen(data.pipeThrough(decoder).pipeThrough(new EventSourceParserStream()).getReader());
}

/** By a reader, since not every browser can iterate over a stream. */
async function* seen(
  events: ReadableStreamDefaultReader<{ event?: string; data: string }>,
): AsyncGenerator<Seen> {
  for (;;) {
    const { done, value } = await events.read().catch(() => {
      throw ApiProblem.unreachable();
    });
    if (done) return;
    const data: unknown = JSON.parse(value.data);
    if (value.event === 'execution') yield { execution: data as ExecutionView };
    if (value.event === 'missed') yield { missed: (data as { count: number }).count };
  }
}
