/** Show the schema of this server, wherever a proxy puts it; the key that is filled in stays in this page. */
window.SwaggerUIBundle({
  url: new URL("../openapi.json", document.baseURI).href,
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
});
