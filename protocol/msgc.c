/* msgc: turns one schema file into a C header and its tables.  Host tool, run by make.
 *
 *   msgc produce.msg produce.h produce.c
 *   msgc --list schemas.c a.msg b.msg ...    a table of all messages by name
 *
 * The language is described in protocol/README.md.  Errors name file and line and end the program. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LENGTH 128
#define WORDS_MAX       24
#define FIELDS_MAX      64
#define VERSION_OPEN    32767
#define DEPTH_MAX       8

struct versions {
    int low;
    int high; /* low > high: none */
};

struct field {
    int line;
    char name[NAME_MAX_LENGTH];
    char type[NAME_MAX_LENGTH]; /* without [] */
    bool array;
    bool ignorable;
    bool inflexible;
    int tag;
    struct versions versions;
    struct versions null_versions;
    struct versions tag_versions;
    char default_text[NAME_MAX_LENGTH]; /* "": none */
};

struct type {
    int line;
    char name[NAME_MAX_LENGTH];       /* Kafka's */
    char c_name[NAME_MAX_LENGTH * 2]; /* produce_request_topic_produce_data */
    struct versions versions;
    struct field fields[FIELDS_MAX];
    int field_count;
    bool ordered;
    struct type *next; /* what is used comes before its user */
};

struct message {
    char name[NAME_MAX_LENGTH];
    char kind[NAME_MAX_LENGTH];
    int key;
    struct versions versions;
    int flexible_from;
    struct type *types; /* the message itself last */
    struct type **types_end;
    struct type **order; /* while types are being ordered */
    int order_count;
    int type_count;
    struct message *next;
};

static const char *input_path;
static FILE *input;
static int line_number;
static char line_text[1024];
static char *words[WORDS_MAX];
static int word_count;

__attribute__((format(printf, 2, 3))) static _Noreturn void fail(int line, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "%s:%d: ", input_path, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* Reads the next line that has words; false at the end of the file. */
static bool next_line(void)
{
    while (fgets(line_text, sizeof line_text, input) != NULL) {
        char *comment = strchr(line_text, '#');
        char *save = NULL;

        line_number++;
        if (strlen(line_text) == sizeof line_text - 1)
            fail(line_number, "line longer than %zu characters", sizeof line_text - 2);
        if (comment != NULL)
            *comment = '\0';
        word_count = 0;
        for (char *w = strtok_r(line_text, " \t\r\n", &save); w != NULL;
             w = strtok_r(NULL, " \t\r\n", &save)) {
            if (word_count == WORDS_MAX)
                fail(line_number, "more than %d words", WORDS_MAX);
            words[word_count++] = w;
        }
        if (word_count > 0)
            return true;
    }
    return false;
}

static void copy_name(char *to, const char *from, const char *what)
{
    if (strlen(from) >= NAME_MAX_LENGTH)
        fail(line_number, "%s '%s' is longer than %d characters", what, from, NAME_MAX_LENGTH - 1);
    for (const char *c = from; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && *c != '_')
            fail(line_number, "%s '%s': expected letters, digits and '_'", what, from);
    }
    strcpy(to, from);
}

static int parse_number(const char *text, const char *what)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (errno != 0 || *text == '\0' || *end != '\0' || value < -1 || value > VERSION_OPEN)
        fail(line_number, "%s '%s': expected a number", what, text);
    return (int)value;
}

/* "none", "3", "3+" or "3-7". */
static struct versions parse_versions(const char *text)
{
    struct versions versions = {1, 0};
    char *end;

    if (strcmp(text, "none") == 0)
        return versions;
    versions.low = (int)strtol(text, &end, 10);
    if (end == text || versions.low < 0)
        fail(line_number, "versions '%s': expected none, N, N+ or N-M", text);
    if (*end == '\0')
        versions.high = versions.low;
    else if (strcmp(end, "+") == 0)
        versions.high = VERSION_OPEN;
    else if (*end == '-')
        versions.high = parse_number(end + 1, "version");
    else
        fail(line_number, "versions '%s': expected none, N, N+ or N-M", text);
    if (versions.high < versions.low)
        fail(line_number, "versions '%s': the range is empty", text);
    return versions;
}

/* TopicData -> topic_data, ISRNodes -> isr_nodes. */
static void snake_case(char *to, const char *from)
{
    for (size_t i = 0; from[i] != '\0'; i++) {
        bool upper = isupper((unsigned char)from[i]) != 0;

        if (upper && i > 0 &&
            (islower((unsigned char)from[i - 1]) || isdigit((unsigned char)from[i - 1]) ||
             (isupper((unsigned char)from[i - 1]) && islower((unsigned char)from[i + 1]))))
            *to++ = '_';
        *to++ = (char)tolower((unsigned char)from[i]);
    }
    *to = '\0';
}

/* A member name that is not a C or C++ keyword. */
static void member_name(char *to, const struct field *field)
{
    static const char *const keywords[] = {"default", "operator", "register", "private", "public", "this"};

    snake_case(to, field->name);
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        if (strcmp(to, keywords[i]) == 0)
            strcat(to, "_");
    }
}

static const char *const primitive_names[] = {"bool",  "int8",    "int16", "uint16", "int32", "uint32",
                                              "int64", "float64", "uuid",  "string", "bytes", "records"};
static const char *const primitive_c[] = {
    "bool ",    "int8_t ", "int16_t ",     "uint16_t ",   "int32_t ",    "uint32_t ",
    "int64_t ", "double ", "struct uuid ", "struct str ", "struct str ", "struct wire_records "};
static const char *const primitive_enum[] = {"BOOL",  "INT8",    "INT16", "UINT16", "INT32", "UINT32",
                                             "INT64", "FLOAT64", "UUID",  "STRING", "BYTES", "RECORDS"};
static const int primitive_bytes_min[] = {1, 1, 2, 2, 4, 4, 8, 8, 16, 1, 1, 1};
#define PRIMITIVES ((int)(sizeof primitive_names / sizeof primitive_names[0]))

static int primitive_index(const char *type)
{
    for (int i = 0; i < PRIMITIVES; i++) {
        if (strcmp(primitive_names[i], type) == 0)
            return i;
    }
    return -1;
}

static struct type *find_type(const struct message *message, const char *name)
{
    for (struct type *type = message->types; type != NULL; type = type->next) {
        if (strcmp(type->name, name) == 0)
            return type;
    }
    return NULL;
}

static struct type *type_new(const char *name, const struct message *message)
{
    struct type *type = calloc(1, sizeof *type);
    char prefix[NAME_MAX_LENGTH * 2];
    char own[NAME_MAX_LENGTH * 2];

    if (type == NULL)
        fail(line_number, "out of memory");
    type->line = line_number;
    copy_name(type->name, name, "type name");
    snake_case(prefix, message->name);
    snake_case(own, name);
    if (strcmp(name, message->name) == 0)
        snprintf(type->c_name, sizeof type->c_name, "%s", prefix);
    else if (snprintf(type->c_name, sizeof type->c_name, "%s_%s", prefix, own) >= (int)sizeof type->c_name)
        fail(line_number, "type name '%s' is too long", name);
    return type;
}

static void parse_attributes(struct field *field, int from, int to)
{
    for (int i = from; i < to; i++) {
        if (strcmp(words[i], "ignorable") == 0) {
            field->ignorable = true;
        } else if (strcmp(words[i], "inflexible") == 0) {
            field->inflexible = true;
        } else if (strcmp(words[i], "null") == 0 && i + 1 < to) {
            field->null_versions = parse_versions(words[++i]);
        } else if (strcmp(words[i], "default") == 0 && i + 1 < to) {
            copy_name(field->default_text, words[i + 1][0] == '-' ? words[i + 1] + 1 : words[i + 1],
                      "default");
            snprintf(field->default_text, sizeof field->default_text, "%s", words[++i]);
        } else if (strcmp(words[i], "tag") == 0 && i + 2 < to) {
            field->tag = parse_number(words[++i], "tag");
            field->tag_versions = parse_versions(words[++i]);
        } else {
            fail(line_number, "'%s': expected null V, tag N V, default X, ignorable or inflexible", words[i]);
        }
    }
}

static void parse_fields(struct message *message, struct type *type, int depth);

static void define_type(struct message *message, struct type *type, int depth)
{
    if (find_type(message, type->name) != NULL)
        fail(line_number, "struct '%s' is defined twice", type->name);
    parse_fields(message, type, depth);
    *message->types_end = type;
    message->types_end = &type->next;
}

static void parse_field(struct message *message, struct type *type, int depth)
{
    bool opens = strcmp(words[word_count - 1], "{") == 0;
    struct field *field;
    const char *type_name;

    if (type->field_count == FIELDS_MAX)
        fail(line_number, "more than %d fields", FIELDS_MAX);
    field = &type->fields[type->field_count++];
    *field = (struct field){.line = line_number, .tag = -1, .null_versions = {1, 0}, .tag_versions = {1, 0}};
    if (word_count - opens < 3)
        fail(line_number, "expected: Name type versions [null V] [tag N V] [default X] [ignorable] [{]");
    copy_name(field->name, words[0], "field name");
    field->array = strncmp(words[1], "[]", 2) == 0;
    type_name = words[1] + (field->array ? 2 : 0);
    copy_name(field->type, type_name, "type");
    field->versions = parse_versions(words[2]);
    parse_attributes(field, 3, word_count - opens);
    if (opens) {
        if (primitive_index(field->type) >= 0)
            fail(line_number, "'%s' takes no fields", field->type);
        define_type(message, type_new(field->type, message), depth + 1);
    }
}

static void parse_fields(struct message *message, struct type *type, int depth)
{
    int from = line_number;

    if (depth > DEPTH_MAX)
        fail(line_number, "structs nested deeper than %d", DEPTH_MAX);
    while (next_line()) {
        if (strcmp(words[0], "}") == 0)
            return;
        if (strcmp(words[0], "struct") == 0 && word_count == 4 && strcmp(words[3], "{") == 0)
            define_type(message, type_new(words[1], message), depth + 1);
        else
            parse_field(message, type, depth);
    }
    fail(from, "'{' is never closed");
}

static void check_types(const struct message *message)
{
    for (const struct type *type = message->types; type != NULL; type = type->next) {
        for (int i = 0; i < type->field_count; i++) {
            const struct field *field = &type->fields[i];

            if (primitive_index(field->type) < 0 && find_type(message, field->type) == NULL)
                fail(field->line, "field '%s': unknown type '%s'", field->name, field->type);
            for (int k = 0; k < i; k++) {
                if (strcmp(type->fields[k].name, field->name) == 0)
                    fail(field->line, "field '%s' is there twice", field->name);
                if (field->tag >= 0 && type->fields[k].tag == field->tag)
                    fail(field->line, "tag %d is there twice", field->tag);
            }
        }
    }
}

/* Appends the type behind everything it uses. */
static void order_type(struct message *message, struct type *types, struct type *type, int depth)
{
    if (type->ordered)
        return;
    if (depth > DEPTH_MAX)
        fail(type->line, "struct '%s' contains itself, or is nested deeper than %d", type->name, DEPTH_MAX);
    for (int i = 0; i < type->field_count; i++) {
        for (struct type *used = types; used != NULL; used = used->next) {
            if (strcmp(used->name, type->fields[i].type) == 0)
                order_type(message, types, used, depth + 1);
        }
    }
    type->ordered = true;
    message->order[message->order_count++] = type;
}

static void order_types(struct message *message)
{
    for (struct type *type = message->types; type != NULL; type = type->next)
        message->type_count++;
    message->order = calloc((size_t)message->type_count, sizeof *message->order);
    if (message->order == NULL)
        fail(line_number, "out of memory");
    for (struct type *type = message->types; type != NULL; type = type->next)
        order_type(message, message->types, type, 0);
    for (int i = 0; i < message->type_count; i++)
        message->order[i]->next = i + 1 < message->type_count ? message->order[i + 1] : NULL;
    message->types = message->order[0];
}

static struct message *parse_message(void)
{
    struct message *message = calloc(1, sizeof *message);
    struct type *type;

    if (message == NULL)
        fail(line_number, "out of memory");
    if (word_count != 8 || strcmp(words[0], "message") != 0 || strcmp(words[5], "flexible") != 0 ||
        strcmp(words[7], "{") != 0)
        fail(line_number, "expected: message Name kind key versions flexible versions {");
    message->types_end = &message->types;
    copy_name(message->name, words[1], "message name");
    copy_name(message->kind, words[2], "kind");
    message->key = parse_number(words[3], "key");
    message->versions = parse_versions(words[4]);
    message->flexible_from = strcmp(words[6], "none") == 0 ? VERSION_OPEN : parse_versions(words[6]).low;
    type = type_new(message->name, message);
    type->versions = message->versions;
    define_type(message, type, 0);
    check_types(message);
    order_types(message);
    return message;
}

/* ---- output ---- */

static void write_member(FILE *out, const struct message *message, const struct field *field)
{
    int primitive = primitive_index(field->type);
    const struct type *of = primitive < 0 ? find_type(message, field->type) : NULL;
    char member[NAME_MAX_LENGTH * 2];
    char c_type[NAME_MAX_LENGTH * 3];
    bool pointer = field->array || (of != NULL && field->null_versions.low <= field->null_versions.high);

    member_name(member, field);
    if (primitive >= 0)
        snprintf(c_type, sizeof c_type, "%s", primitive_c[primitive]);
    else
        snprintf(c_type, sizeof c_type, "struct %s ", of->c_name);
    fprintf(out, "    %s%s%s; /* ", c_type, pointer ? "*" : "", member);
    if (field->versions.high == VERSION_OPEN)
        fprintf(out, "v%d+", field->versions.low);
    else
        fprintf(out, "v%d-%d", field->versions.low, field->versions.high);
    if (field->tag >= 0)
        fprintf(out, ", tag %d", field->tag);
    if (field->null_versions.low <= field->null_versions.high)
        fprintf(out, ", null v%d+", field->null_versions.low);
    if (field->default_text[0] != '\0')
        fprintf(out, ", default %s", field->default_text);
    fprintf(out, " */\n");
    if (field->array)
        fprintf(out, "    int32_t %s_count;\n", member);
}

static void write_header(FILE *out, const struct message *messages, const char *guard)
{
    fprintf(out, "/* Made by msgc from %s; do not edit. */\n#ifndef %s\n#define %s\n\n",
            base_name(input_path), guard, guard);
    fprintf(out, "#include \"protocol/message.h\"\n\n");
    for (const struct message *message = messages; message != NULL; message = message->next) {
        for (const struct type *type = message->types; type != NULL; type = type->next) {
            if (type->next == NULL)
                fprintf(out, "/* %s, %s, key %d, versions %d-%d */\n", message->name, message->kind,
                        message->key, message->versions.low, message->versions.high);
            fprintf(out, "struct %s {\n", type->c_name);
            for (int i = 0; i < type->field_count; i++)
                write_member(out, message, &type->fields[i]);
            if (type->field_count == 0)
                fprintf(out, "    char empty; /* no field */\n");
            fprintf(out, "};\nextern const struct message_schema %s_schema;\n\n", type->c_name);
        }
    }
    fprintf(out, "#endif\n");
}

static int bytes_min(const struct message *message, const struct type *type)
{
    int sum = 0;

    for (int i = 0; i < type->field_count; i++) {
        const struct field *field = &type->fields[i];
        int primitive = primitive_index(field->type);

        if (field->tag >= 0 || field->versions.low > message->versions.low ||
            field->versions.high < message->versions.high)
            continue; /* some version goes without it */
        if (field->array || field->null_versions.low <= field->null_versions.high)
            sum += 1;
        else if (primitive >= 0)
            sum += primitive_bytes_min[primitive];
        else
            sum += bytes_min(message, find_type(message, field->type));
    }
    return sum;
}

static int version_bound(int version)
{
    return version > VERSION_OPEN ? VERSION_OPEN : version;
}

static void write_default(FILE *out, const struct field *field)
{
    const char *text = field->default_text;

    if (text[0] == '\0')
        return;
    if (strcmp(text, "null") == 0)
        fprintf(out, ", .default_null = true");
    else if (strcmp(text, "true") == 0)
        fprintf(out, ", .default_value = 1");
    else if (strcmp(text, "false") == 0)
        return;
    else if (strcmp(text, "-9223372036854775808") == 0)
        fprintf(out, ", .default_value = INT64_MIN");
    else
        fprintf(out, ", .default_value = INT64_C(%s)", text);
}

static void write_field(FILE *out, const struct message *message, const struct type *type,
                        const struct field *field)
{
    int primitive = primitive_index(field->type);
    char member[NAME_MAX_LENGTH * 2];
    char json[NAME_MAX_LENGTH];
    struct versions versions = field->versions;

    member_name(member, field);
    strcpy(json, field->name);
    json[0] = (char)tolower((unsigned char)json[0]);
    fprintf(out, "    {.name = \"%s\", .type = MESSAGE_%s, .offset = offsetof(struct %s, %s)", json,
            primitive >= 0 ? primitive_enum[primitive] : "STRUCT", type->c_name, member);
    if (field->array)
        fprintf(out, ", .array = true, .count_offset = offsetof(struct %s, %s_count)", type->c_name, member);
    if (field->ignorable)
        fprintf(out, ", .ignorable = true");
    if (field->inflexible)
        fprintf(out, ", .inflexible = true");
    fprintf(out, ", .tag = %d, .versions = {%d, %d}, .null_versions = {%d, %d}", field->tag, versions.low,
            version_bound(versions.high), field->null_versions.low, version_bound(field->null_versions.high));
    write_default(out, field);
    if (primitive < 0)
        fprintf(out, ", .of = &%s_schema", find_type(message, field->type)->c_name);
    fprintf(out, "},\n");
}

static int write_tags(FILE *out, const struct type *type)
{
    int count = 0;
    int last = -1;

    for (int i = 0; i < type->field_count; i++)
        count += type->fields[i].tag >= 0;
    if (count == 0)
        return 0;
    fprintf(out, "static const uint16_t %s_tags[] = {", type->c_name);
    for (int n = 0; n < count; n++) {
        int best = -1;

        for (int i = 0; i < type->field_count; i++) {
            if (type->fields[i].tag > last && (best < 0 || type->fields[i].tag < type->fields[best].tag))
                best = i;
        }
        if (best < 0)
            fail(type->line, "tags of '%s' are not in order", type->name); /* counted above: cannot be */
        last = type->fields[best].tag;
        fprintf(out, "%s%d", n > 0 ? ", " : "", best);
    }
    fprintf(out, "};\n");
    return count;
}

static void write_type(FILE *out, const struct message *message, const struct type *type)
{
    int tags;
    int min = bytes_min(message, type);

    if (type->field_count > 0) {
        fprintf(out, "static const struct message_field %s_fields[] = {\n", type->c_name);
        for (int i = 0; i < type->field_count; i++)
            write_field(out, message, type, &type->fields[i]);
        fprintf(out, "};\n");
    }
    tags = write_tags(out, type);
    fprintf(out, "const struct message_schema %s_schema = {\n", type->c_name);
    fprintf(out, "    .name = \"%s\", .size_bytes = sizeof(struct %s), .wire_bytes_min = %d,\n", type->name,
            type->c_name, min > 0 ? min : 1);
    fprintf(out, "    .versions = {%d, %d}, .flexible_from = %d,\n", message->versions.low,
            version_bound(message->versions.high), message->flexible_from);
    fprintf(out, "    .field_count = %d, .tag_count = %d,\n", type->field_count, tags);
    if (type->field_count > 0)
        fprintf(out, "    .fields = %s_fields,\n", type->c_name);
    if (tags > 0)
        fprintf(out, "    .tags = %s_tags,\n", type->c_name);
    fprintf(out, "};\n\n");
}

static void write_source(FILE *out, const struct message *messages, const char *header)
{
    fprintf(out, "/* Made by msgc from %s; do not edit. */\n", base_name(input_path));
    fprintf(out, "#include \"msg/%s\"\n#include \"protocol/message_schema.h\"\n#include <stddef.h>\n\n",
            base_name(header));
    for (const struct message *message = messages; message != NULL; message = message->next) {
        for (const struct type *type = message->types; type != NULL; type = type->next)
            write_type(out, message, type);
    }
}

static FILE *open_output(const char *path)
{
    FILE *out = fopen(path, "w");

    if (out == NULL) {
        fprintf(stderr, "msgc: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return out;
}

static void close_output(FILE *out, const char *path)
{
    if (fclose(out) != 0) {
        fprintf(stderr, "msgc: %s: %s\n", path, strerror(errno));
        exit(1);
    }
}

static void guard_name(char *to, size_t size, const char *path)
{
    snprintf(to, size, "PENSTOCK_MSG_%s", base_name(path));
    for (; *to != '\0'; to++)
        *to = isalnum((unsigned char)*to) ? (char)toupper((unsigned char)*to) : '_';
}

static struct message *parse_file(const char *path)
{
    struct message *messages = NULL;
    struct message **end = &messages;

    input_path = path;
    line_number = 0;
    input = fopen(path, "r");
    if (input == NULL) {
        fprintf(stderr, "msgc: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    while (next_line()) {
        *end = parse_message();
        end = &(*end)->next;
    }
    fclose(input);
    if (messages == NULL)
        fail(line_number, "no message in this file");
    return messages;
}

static int write_list(const char *path, char **inputs, int count)
{
    FILE *out = open_output(path);

    fprintf(out, "/* Made by msgc from all schemas; do not edit. */\n#include \"protocol/schemas.h\"\n\n");
    fprintf(out, "#define ALL_SCHEMAS(X)");
    for (int i = 0; i < count; i++) {
        for (const struct message *message = parse_file(inputs[i]); message != NULL;
             message = message->next) {
            char c_name[NAME_MAX_LENGTH * 2];

            snake_case(c_name, message->name);
            fprintf(out, " \\\n    X(%s, %s, \"%s\", %d)", message->name, c_name, message->kind,
                    message->key);
        }
    }
    fprintf(
        out,
        "\n\n#define DECLARE(name, c_name, kind, key) extern const struct message_schema c_name##_schema;\n"
        "ALL_SCHEMAS(DECLARE)\n\n"
        "#define ROW(name, c_name, kind, key) {#name, kind, key, &c_name##_schema},\n"
        "static const struct schema_row rows[] = {ALL_SCHEMAS(ROW)};\n\n"
        "const struct schema_row *schemas_all(size_t *ret_count)\n{\n"
        "    *ret_count = sizeof rows / sizeof rows[0];\n    return rows;\n}\n");
    close_output(out, path);
    return 0;
}

int main(int argc, char **argv)
{
    struct message *messages;
    char guard[512];
    FILE *out;

    if (argc >= 4 && strcmp(argv[1], "--list") == 0)
        return write_list(argv[2], argv + 3, argc - 3);
    if (argc != 4) {
        fprintf(stderr, "usage: msgc IN.msg OUT.h OUT.c\n       msgc --list OUT.c IN.msg...\n");
        return 2;
    }
    messages = parse_file(argv[1]);
    guard_name(guard, sizeof guard, argv[2]);
    out = open_output(argv[2]);
    write_header(out, messages, guard);
    close_output(out, argv[2]);
    out = open_output(argv[3]);
    write_source(out, messages, argv[2]);
    close_output(out, argv[3]);
    return 0;
}
