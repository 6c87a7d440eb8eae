"""Subjects to ask quiz questions about, in families of one kind; `tasks` deals them into two disjoint sets."""

FAMILIES: dict[str, str] = {
    "mammals": """
        whales, elephants, bats, horses, camels, giraffes, otters, beavers, lions, gorillas, hedgehogs, rabbits,
        sheep, goats, zebras, hippos, tigers, cheetahs, koalas, moles, badgers, seals, reindeer, mice, hyenas,
        armadillos, chimpanzees, porcupines, raccoons, skunks, llamas, weasels
    """,
    "birds": """
        penguins, owls, pigeons, parrots, swans, flamingos, crows, peacocks, woodpeckers, ducks, eagles, sparrows,
        robins, swallows, falcons, cranes, canaries, cuckoos, toucans, nightingales
    """,
    "other animals": """
        honey bees, ants, spiders, mosquitoes, dragonflies, ladybirds, termites, fireflies, snails, earthworms,
        octopuses, crabs, lobsters, shrimps, starfish, sharks, salmon, tuna, goldfish, rays, trout, carp, frogs,
        newts, salamanders, turtles, crocodiles, chameleons, geckos, snakes, dinosaurs, scorpions, centipedes,
        sponges, fleas
    """,
    "plants": """
        roses, tulips, sunflowers, palms, cacti, mosses, ferns, bamboo, orchids, daisies, lilies, seaweed, maples,
        birches, poppies, clover, nettles, redwoods, baobabs, violets
    """,
    "fruit and vegetables": """
        bananas, oranges, lemons, strawberries, pears, peaches, plums, mangoes, melons, figs, dates, avocados,
        raspberries, kiwis, pomegranates, potatoes, onions, garlic, cabbages, spinach, pumpkins, cucumbers, beans,
        beetroots, celery, asparagus, broccoli, artichokes, turnips
    """,
    "food and drink": """
        bread, cheese, milk, rice, pasta, pizza, salad, sugar, salt, pepper, vanilla, saffron, mustard, vinegar, ice
        cream, sausages, noodles, sushi, coffee, lemonade, water, wine, cocoa, nuts, almonds, peanuts, corn, barley,
        rye, flour, jam, biscuits, popcorn, sandwiches, tofu, maple syrup, breakfast, picnics
    """,
    "the earth": """
        earthquakes, lakes, oceans, deserts, glaciers, caves, valleys, waterfalls, beaches, waves, icebergs,
        fossils, clay, crystals, soil, forests, grasslands, canyons, fjords, lagoons, springs, the North Pole, the
        South Pole, the equator, the Amazon, the Alps, the Himalayas, the Pacific Ocean, Mount Everest
    """,
    "weather and sky": """
        rain, snow, clouds, thunderstorms, tornadoes, hurricanes, fog, hail, the seasons, winter, summer, autumn,
        floods, the moon, the sun, planets, meteors, galaxies, black holes, Mars, Jupiter, Saturn, Mercury, Uranus,
        asteroids, satellites, constellations, the atmosphere
    """,
    "materials": """
        glass, paper, gold, iron, steel, aluminium, lead, zinc, rubies, emeralds, pearls, marble, concrete, bricks,
        wood, rubber, leather, wool, cotton, linen, coal, petroleum, natural gas, soap, paint, glue, porcelain,
        mercury lamps, charcoal, limestone
    """,
    "science": """
        electricity, light, heat, energy, atoms, oxygen, carbon, nitrogen, helium, colours, mirrors, lenses,
        friction, temperature, time, bacteria, viruses, genes, photosynthesis, vitamins, proteins, vaccines, radio
        waves, X-rays, lasers, the periodic table, physics, biology, geology, botany, ecology
    """,
    "the body": """
        the heart, the brain, the stomach, the kidneys, blood, bones, skin, teeth, eyes, ears, the tongue, feet,
        fingers, nerves, sleep, memory, breathing, digestion, fever, pain, yawning, taste, ageing
    """,
    "mathematics": """
        triangles, squares, fractions, zero, angles, cubes, pyramids, algebra, statistics, probability,
        multiplication, infinity, decimals, graphs, symmetry, measuring
    """,
    "history": """
        ancient Egypt, ancient Greece, the Middle Ages, the Vikings, the Incas, the Maya, the Stone Age, the Ice
        Age, the Industrial Revolution, the American Civil War, the First World War, the Cold War, the Silk Road,
        the Ottoman Empire, the British Empire, the Age of Discovery, the Moon landing, the Berlin Wall, the Great
        Wall of China, knights, pirates, gladiators, castles, explorers, queens, emperors, the Magna Carta, cave
        paintings
    """,
    "countries": """
        France, Germany, Italy, Portugal, Norway, Sweden, Finland, Ireland, Poland, Austria, Switzerland, Turkey,
        China, Japan, India, Vietnam, Australia, New Zealand, Egypt, Kenya, South Africa, Brazil, Argentina, Peru,
        Canada, Cuba, Jamaica, Belgium, Mongolia, Nepal, Madagascar, Colombia, Iran
    """,
    "cities": """
        Paris, London, Berlin, Lisbon, Athens, Vienna, Venice, Moscow, Cairo, Jerusalem, Beijing, New York, Chicago,
        Rio de Janeiro, Amsterdam, Edinburgh, Stockholm, Budapest, Hong Kong, Los Angeles
    """,
    "transport": """
        bicycles, trains, buses, ships, submarines, sailing boats, aeroplanes, balloons, rockets, motorcycles,
        tractors, fire engines, bridges, tunnels, railways, airports, harbours, lighthouses, escalators, wheels,
        engines, tyres, parachutes, ferries, underground railways, cable cars
    """,
    "technology": """
        computers, televisions, radios, cameras, the internet, light bulbs, clocks, watches, thermometers,
        telescopes, calculators, printers, microwaves, vacuum cleaners, washing machines, ovens, windmills, solar
        panels, nuclear power, wind turbines, emails, barcodes, maps, drones, hearing aids, steam engines, fax
        machines, typewriters
    """,
    "things": """
        chairs, beds, lamps, candles, curtains, windows, keys, locks, forks, plates, cups, bottles, umbrellas,
        shoes, socks, gloves, buttons, spectacles, rings, necklaces, coins, stamps, postcards, letters, pens,
        hammers, nails, screws, ladders, needles, brooms, toothbrushes, pillows, toys, dolls, kites, matches,
        perfume, flags, tents
    """,
    "sport and games": """
        football, tennis, golf, baseball, rugby, volleyball, swimming, running, skating, boxing, judo, karate,
        archery, cycling, gymnastics, wrestling, diving, table tennis, bowling, the Olympic Games, chess, dominoes,
        playing cards, dice, billiards, juggling, yoga, fishing, horse racing, polo, crossword puzzles
    """,
    "music and arts": """
        pianos, guitars, flutes, trumpets, harps, saxophones, choirs, orchestras, opera, rock music, ballet, tango,
        theatre, cartoons, novels, poems, fairy tales, myths, sculptures, photographs, pottery, tattoos, museums,
        libraries, newspapers, magic tricks, puppets, Shakespeare, Mozart, Leonardo da Vinci, Van Gogh, Bach, Homer
    """,
    "society": """
        money, taxes, schools, universities, police, doctors, dentists, farmers, pilots, judges, lawyers, teachers,
        soldiers, cooks, tailors, markets, restaurants, elections, parliaments, presidents, prisons, borders,
        languages, alphabets, Latin, names, birthdays, weddings, Christmas, Halloween, New Year, calendars, postal
        services, zoos, parks, playgrounds, farms, villages, houses, skyscrapers, kitchens, temples, mosques
    """,
    "thinkers and travellers": """
        Albert Einstein, Charles Darwin, Marie Curie, Aristotle, Plato, Julius Caesar, Napoleon, Christopher
        Columbus, Marco Polo, Abraham Lincoln, Nelson Mandela, Joan of Arc, Queen Victoria, Alexander Graham Bell,
        Louis Pasteur, Nikola Tesla, Copernicus
    """,
}


def subjects() -> list[str]:
    """Return every subject once, in the order of the families."""
    return [" ".join(one.split()) for family in FAMILIES.values() for one in family.split(",")]
