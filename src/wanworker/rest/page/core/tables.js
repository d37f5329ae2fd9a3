/** What the server's own tables say of modes, tasks, sizes and ranges: see rest/schemas/page_tables.py. */

const answer = await fetch(new URL("../tables.json", import.meta.url));

export const tables = await answer.json();
