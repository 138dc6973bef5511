package httpapi

import (
	"embed"
	"net/http"
)

// docsFiles is the page that shows the document. It loads nothing from elsewhere, so it works without a network.
//
//go:embed docs/index.html docs/docs.js docs/docs.css
var docsFiles embed.FS

func docsPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'")
	http.ServeFileFS(w, r, docsFiles, "docs/index.html")
}

func docsFile(w http.ResponseWriter, r *http.Request) {
	switch r.PathValue("file") {
	case "docs.js":
		http.ServeFileFS(w, r, docsFiles, "docs/docs.js")
	case "docs.css":
		http.ServeFileFS(w, r, docsFiles, "docs/docs.css")
	default:
		http.Redirect(w, r, "/docs", http.StatusFound)
	}
}
