/*
 * tests/unit/clifake.c - services that answer ampcli as a test wants (see clifake.h).
 */
#include "clifake.h"

char dir[64];

struct service mon = {.name = "ampmon"}, scan = {.name = "ampscand"}, cloud = {.name = "ampcloudd"},
	       quard = {.name = "ampquard"};

void reply(int fd, uint16_t type, uint64_t id, const ProtobufCMessage *body)
{
	static __thread uint8_t buf[AMP_MSG_MAX];
	size_t n = amp_message_pack(buf, sizeof(buf), type, id, body);

	if (n == 0 || send(fd, buf, n, MSG_NOSIGNAL) < 0)
		abort();
}

static void serve(struct service *s, int fd)
{
	uint8_t buf[4096];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct amp_wire_header h;

	while (!s->stop) {
		ssize_t n;

		if (poll(&p, 1, 10) <= 0)
			continue;
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT | (s->leaves_unread ? MSG_PEEK : 0));
		if (n < (ssize_t)sizeof(h))
			break;
		memcpy(&h, buf, sizeof(h));
		s->requests++;
		if (!s->answer(s, fd, &h, buf + sizeof(h), (size_t)n - sizeof(h)))
			break;
	}
	close(fd);
}

static void *service_main(void *arg)
{
	struct service *s = arg;
	struct pollfd p = {.fd = s->listener, .events = POLLIN};

	while (!s->stop) {
		if (poll(&p, 1, 10) > 0)
			serve(s, accept4(s->listener, NULL, NULL, SOCK_CLOEXEC));
	}
	return NULL;
}

void start(struct service *s, answerer *answer)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	s->answer = answer;
	s->stop = false;
	s->requests = 0;
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/%s", dir, s->name);
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (const struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(s->listener, 8), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, service_main, s), 0);
	s->running = true;
}

void stop(struct service *s)
{
	char path[128];

	if (!s->running)
		return;
	s->running = false;
	s->stop = true;
	pthread_join(s->thread, NULL);
	s->leaves_unread = false;
	close(s->listener);
	snprintf(path, sizeof(path), "%s/%s", dir, s->name);
	unlink(path);
}

int stop_all(void **state)
{
	(void)state;
	stop(&mon);
	stop(&scan);
	stop(&cloud);
	stop(&quard);
	return 0;
}

/* What ampcli printed last. */
char *out, *err;
/* Its standard error instead, if it is a terminal's. */
FILE *terminal;

int ampcli(int first, ...)
{
	char *argv[16] = {(char *)(uintptr_t) "ampcli", (char *)(uintptr_t) "-r", dir};
	int argc = 3, code;
	size_t n;
	FILE *fo, *fe;
	va_list ap;

	va_start(ap, first);
	while ((argv[argc] = va_arg(ap, char *)))
		argc++;
	va_end(ap);
	free(out);
	free(err);
	fo = open_memstream(&out, &n);
	fe = open_memstream(&err, &n);
	code = cli_main(argc, argv, fo, terminal ? terminal : fe);
	fclose(fo);
	fclose(fe);
	return code;
}

/* Exactly one document, of this type. */
json_object *document(enum json_type type)
{
	struct json_tokener *t = json_tokener_new();
	json_object *o = json_tokener_parse_ex(t, out, (int)strlen(out));

	if (!o || json_object_get_type(o) != type)
		fail_msg("no such document: %s", out);
	for (size_t i = json_tokener_get_parse_end(t); out[i]; i++)
		if (out[i] != '\n')
			fail_msg("more than one document: %s", out);
	json_tokener_free(t);
	return o;
}

json_object *member(json_object *o, const char *key)
{
	json_object *v = NULL;

	if (!json_object_object_get_ex(o, key, &v))
		fail_msg("%s is missing in %s", key, json_object_to_json_string(o));
	return v;
}

const char *text_of(json_object *o, const char *key)
{
	return json_object_get_string(member(o, key));
}

/* A terminal: what is typed on it, and what is seen. */
static int typed_on = -1, usual_stdin = -1;

void open_terminal(const char *typed)
{
	int slave;

	typed_on = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	assert_true(typed_on >= 0);
	assert_int_equal(grantpt(typed_on), 0);
	assert_int_equal(unlockpt(typed_on), 0);
	slave = open(ptsname(typed_on), O_RDWR | O_NOCTTY);
	assert_true(slave >= 0);
	usual_stdin = dup(STDIN_FILENO);
	assert_int_equal(dup2(slave, STDIN_FILENO), STDIN_FILENO);
	clearerr(stdin);
	terminal = fdopen(slave, "w");
	assert_non_null(terminal);
	assert_int_equal(write(typed_on, typed, strlen(typed)), strlen(typed));
}

/* Back to none; what was seen. */
const char *close_terminal(void)
{
	static char seen[8192];
	struct pollfd p = {.fd = typed_on, .events = POLLIN};
	size_t at = 0;

	/* The kernel hands it over when it likes: up to a mark. */
	fputs("<end>", terminal);
	fflush(terminal);
	seen[0] = '\0';
	while (!strstr(seen, "<end>") && poll(&p, 1, 60000) > 0) {
		ssize_t n = read(typed_on, seen + at, sizeof(seen) - 1 - at);

		assert_true(n > 0);
		at += (size_t)n;
		seen[at] = '\0';
	}
	fclose(terminal);
	terminal = NULL;
	if (usual_stdin >= 0) {
		dup2(usual_stdin, STDIN_FILENO);
		close(usual_stdin);
	} else {
		close(STDIN_FILENO);
	}
	close(typed_on);
	return seen;
}

int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/amp-clitest-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

int remove_dir(void **state)
{
	(void)state;
	free(out);
	free(err);
	return rmdir(dir);
}
