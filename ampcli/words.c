/*
 * ampcli/words.c - a line taken apart into words (see words.h).
 */
#include "words.h"

#include <stdlib.h>
#include <string.h>

/* What a backslash keeps within double quotes; before others it is itself. */
#define KEPT_IN_QUOTES "\"\\$`"
/* What has to be kept outside quotes. */
#define SPECIAL " \t\n'\"\\#$`*?[]{}()<>|&;!~"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* One character or escape of a word. It moves on, and says in *w what is open. */
static void take(struct words *w, const char **at, char **to)
{
	char c = *(*at)++;

	if (w->quote == 0 && (c == '\'' || c == '"')) {
		w->quote = c;
	} else if (c == w->quote) {
		w->quote = 0;
	} else if (c == '\\' && w->quote != '\'' && **at == '\0') {
		w->quote = w->quote ? w->quote : '\\';
	} else if (c == '\\' && (w->quote == 0 || (w->quote == '"' && strchr(KEPT_IN_QUOTES, **at)))) {
		*(*to)++ = *(*at)++;
	} else {
		*(*to)++ = c;
	}
}

static void take_word(struct words *w, const char **at, char **to)
{
	w->word[w->n++] = *to;
	while (**at && (w->quote || !is_space(**at)))
		take(w, at, to);
	w->unfinished = **at == '\0';
	*(*to)++ = '\0';
}

int words_split(struct words *w, const char *line)
{
	const char *at = line;
	char *to = w->text;

	w->n = 0;
	w->unfinished = w->comment = false;
	w->quote = 0;
	/* A word and its end take no more than it and the space behind it did. */
	if (strlen(line) >= WORDS_LINE_MAX)
		return -1;
	for (;;) {
		while (is_space(*at))
			at++;
		w->comment = *at == '#';
		if (*at == '\0' || w->comment)
			break;
		if (w->n == WORDS_MAX)
			return -1;
		take_word(w, &at, &to);
	}
	w->word[w->n] = NULL;
	return 0;
}

/* One character in its form. */
static void put(char **to, char c, char quote)
{
	if (quote == '\'' && c == '\'') {
		memcpy(*to, "'\\''", 4);
		*to += 4;
		return;
	}
	if ((quote == '"' && strchr(KEPT_IN_QUOTES, c)) || (quote == 0 && strchr(SPECIAL, c)))
		*(*to)++ = '\\';
	*(*to)++ = c;
}

char *words_quote(const char *text, char quote)
{
	char *quoted = malloc(4 * strlen(text) + 1), *to = quoted;

	if (!quoted)
		return NULL;
	if (quote == '\\') { /* it keeps the first itself */
		if (*text)
			*to++ = *text++;
		quote = 0;
	}
	for (; *text; text++)
		put(&to, *text, quote);
	*to = '\0';
	return quoted;
}
